#include "policy/value.hpp"

#include <algorithm>

namespace hanse {

bool same_value(const Value& a, const Value& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Value::Kind::text:
      return a.text() == b.text();
    case Value::Kind::set:
      return std::equal(a.set->elements.begin(), a.set->elements.end(), b.set->elements.begin(),
                        b.set->elements.end(), same_value);
    default:
      return a.number == b.number;
  }
}

bool less_value(const Value& a, const Value& b) {
  if (a.kind != b.kind) return a.kind < b.kind;
  if (a.kind == Value::Kind::text) return a.text() < b.text();
  if (a.kind == Value::Kind::set) return false;
  return a.number < b.number;
}

ValueSet ValueSet::of_integers(const std::vector<int64_t>& integers) {
  ValueSet set;
  for (const int64_t integer : integers) set.elements.push_back(Value::of_integer(integer));
  set.sort();
  return set;
}

ValueSet ValueSet::of_texts(std::vector<std::string> texts) {
  ValueSet set;
  set.texts = std::make_shared<const std::vector<std::string>>(std::move(texts));
  for (const std::string& text : *set.texts) set.elements.push_back(Value::of_text(text));
  set.sort();
  return set;
}

void ValueSet::sort() {
  std::sort(elements.begin(), elements.end(), less_value);
  elements.erase(std::unique(elements.begin(), elements.end(), same_value), elements.end());
}

bool ValueSet::contains(const Value& value) const {
  return std::binary_search(elements.begin(), elements.end(), value, less_value) &&
         value.kind != Value::Kind::set;
}

bool ValueSet::contains_all(const ValueSet& other) const {
  return std::all_of(other.elements.begin(), other.elements.end(),
                     [this](const Value& value) { return contains(value); });
}

bool ValueSet::contains_any(const ValueSet& other) const {
  return std::any_of(other.elements.begin(), other.elements.end(),
                     [this](const Value& value) { return contains(value); });
}

}  // namespace hanse
