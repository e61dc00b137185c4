// @name("value") before a rule: its name, what it asks for in return, and where it comes from.
#include <charconv>

#include "policy/parser.hpp"

namespace hanse::policy {

namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// "a, b" as the bits of its words; false: a word is unknown or there is none.
template <size_t n>
bool parse_words(std::string_view text, const std::string_view (&words)[n], uint8_t& bits_out) {
  for (size_t comma = 0; comma != text.npos;
       text.remove_prefix(std::min(comma, text.size() - 1) + 1)) {
    comma = text.find(',');
    const std::string_view word = trimmed(text.substr(0, comma));
    size_t at = 0;
    while (at < n && words[at] != word) ++at;
    if (at == n) return false;
    bits_out = uint8_t(bits_out | 1u << at);
    if (comma == text.npos) return true;
  }
  return false;
}

template <class T>
bool parse_number(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

// "100/60s"
bool parse_rate(std::string_view text, RateLimit& rate_out) {
  const size_t slash = text.find('/');
  if (slash == text.npos || text.empty() || text.back() != 's') return false;
  return parse_number(text.substr(0, slash), rate_out.count) &&
         parse_number(text.substr(slash + 1, text.size() - slash - 2), rate_out.seconds) &&
         rate_out.count != 0 && rate_out.seconds != 0 && rate_out.count <= 1'000'000 &&
         rate_out.seconds <= 86'400;
}

}  // namespace

// One annotation, behind its `@`.
void Parser::parse_annotation(ParsedRule& rule) {
  if (peek().kind != TokenKind::word) fail("the name of an annotation");
  const size_t name_at = peek().at;
  const std::string_view name = take().text;
  std::string value;
  size_t at = peek().at;
  if (accept("(")) {
    at = peek().at;
    if (name == "id" && peek().text == "\"\"") fail("a name that is not empty");
    value = expect_text("a text in quotes");
    expect(")");
  }
  const auto want = [&](bool good, std::string_view what) {
    if (!good) fail_at(policy_, at, what, "\"" + value + "\"");
  };

  constexpr std::string_view obligations[] = {"approval", "verifier"};
  constexpr std::string_view redactions[] = {"payload", "latents"};
  uint8_t& asked = rule.rule.obligations;
  if (name == "id") {
    want(!value.empty(), "a name in quotes");
    rule.source.name = value;
  } else if (name == "obligation") {
    want(parse_words(value, obligations, asked), "approval, verifier or both");
  } else if (name == "redact") {
    want(parse_words(value, redactions, rule.source.redact), "payload, latents or both");
    asked |= obligation_redact;
  } else if (name == "rate") {
    want(parse_rate(value, rule.source.rate),
         "a rate such as 100/60s: at most 1000000 and 86400 seconds");
    asked |= obligation_rate;
  } else if (name == "approver") {
    want(!value.empty() && value.size() <= 256, "a name of at most 256 bytes");
    rule.source.approver = value;
  } else if (name == "lesson") {
    want(parse_number(value, rule.source.lesson), "a position of the journal");
    rule.rule.grants = false;
  } else if (name != "note" && name != "reason") {
    // A misspelt obligation must not become a rule without one.
    fail_at(policy_, name_at, "id, obligation, approver, redact, rate, lesson, note or reason",
            std::string("'").append(name).append("'"));
  }
}

void Parser::parse_annotations(ParsedRule& rule) {
  std::vector<std::string_view> seen;
  while (accept("@")) {
    for (const std::string_view name : seen)
      if (peek().is(name)) fail("each annotation once");
    seen.push_back(peek().text);
    parse_annotation(rule);
  }
}

// What asks for something in return permits a dispatch, and says so in its head: nothing else can
// wait for a person, be verified, cut or counted.
void Parser::check_obligations(const ParsedRule& rule) const {
  const Rule& head = rule.rule;
  if (!rule.source.approver.empty() && (head.obligations & obligation_approval) == 0)
    fail_at(policy_, rule.begin, "@obligation(\"approval\") with @approver", "none");
  if (head.obligations == 0) return;
  if (head.effect != Effect::permit)
    fail_at(policy_, rule.begin, "a permit behind an obligation", "forbid");
  if (head.actions != 1u << size_t(Action::dispatch))
    fail_at(policy_, rule.begin, "action == Action::\"dispatch\" in a rule with an obligation",
            "other actions");
}

}  // namespace hanse::policy
