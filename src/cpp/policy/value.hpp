// A value that a rule can meet: what the context says, and what literals are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hanse {

struct ValueSet;

// Texts and sets are borrowed. Sixteen bytes, and trivial, so that a stack of them costs nothing.
struct Value {
  enum class Kind : uint8_t { missing, boolean, integer, text, set, entity };

  Kind kind;
  uint32_t size;  // of a text
  union {
    int64_t number;  // of a boolean, an integer, an entity's index
    const char* characters;
    const ValueSet* set;
  };

  static Value of_boolean(bool value) { return of(Kind::boolean, value); }
  static Value of_integer(int64_t value) { return of(Kind::integer, value); }
  static Value of_entity(uint32_t index) { return of(Kind::entity, index); }
  static Value of_text(std::string_view text) {
    Value value = of(Kind::text, 0);
    value.size = uint32_t(text.size());
    value.characters = text.data();
    return value;
  }
  static Value of_set(const ValueSet& set) {
    Value value = of(Kind::set, 0);
    value.set = &set;
    return value;
  }
  static Value none() { return of(Kind::missing, 0); }

  std::string_view text() const { return {characters, size}; }

 private:
  static Value of(Kind kind, int64_t number) {
    Value value;
    value.kind = kind;
    value.size = 0;
    value.number = number;
    return value;
  }
};
static_assert(sizeof(Value) == 16);

// Elements ascending by kind, then value, no two the same. No sets in sets.
struct ValueSet {
  std::vector<Value> elements;
  std::shared_ptr<const std::vector<std::string>> texts;  // what the elements borrow

  static ValueSet of_integers(const std::vector<int64_t>& integers);
  static ValueSet of_texts(std::vector<std::string> texts);
  void sort();  // after elements were added

  bool contains(const Value& value) const;
  bool contains_all(const ValueSet& other) const;
  bool contains_any(const ValueSet& other) const;
};

// Values of two kinds are never the same, and that is no error.
bool same_value(const Value& a, const Value& b);
bool less_value(const Value& a, const Value& b);

}  // namespace hanse
