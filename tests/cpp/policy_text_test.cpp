// What a policy text may not say, and how the refusal names it.
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "policy/policy.hpp"

namespace hanse {
namespace {

std::shared_ptr<const Program> compile(std::string_view text) {
  return Program::compile(text, [](std::string_view type, std::string_view name) {
    return type == "Agent" && (name == "alice" || name == "team") ? 1 : index_none;
  });
}

bool holds(const std::string& condition) {
  const std::string text = "permit(principal, action, resource) when {" + condition + "};";
  return compile(text)->decide(Request{}, 1).allowed;
}

std::string refusal(std::string_view text) {
  try {
    compile(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::policy_compile);
    EXPECT_EQ(error.field(), "policy");
    return error.detail();
  }
  ADD_FAILURE() << "compiled: " << text;
  return {};
}

std::string refusal_of(const std::string& condition) {
  return refusal("permit(principal,action,resource)when{" + condition + "};");
}

TEST(PolicyText, numbers_beyond_64_bits_are_refused) {
  EXPECT_NE(refusal_of("9223372036854775808 > 0").find("64 bits"), std::string::npos);
  EXPECT_NE(refusal_of("-9223372036854775809 < 0").find("64 bits"), std::string::npos);
  EXPECT_NE(refusal_of("18446744073709551616 > 0").find("64 bits"), std::string::npos);
}

TEST(PolicyText, errors_name_line_and_column_and_what_was_expected) {
  EXPECT_EQ(refusal("permit(principal, action, resource)"),
            "line 1, column 36: expected ';', got the end of the text");
  EXPECT_EQ(refusal("// comment\n  allow(principal, action, resource);"),
            "line 2, column 3: expected permit or forbid, got 'allow'");
  EXPECT_EQ(refusal("permit(principal == 5, action, resource);"),
            "line 1, column 21: expected an entity such as Agent::\"name\", got '5'");
  EXPECT_EQ(refusal_of("context.budget = 5"),
            "line 1, column 54: expected a word, a number, a string or a symbol, got '='");
  EXPECT_EQ(refusal_of("\"ä\" == 5"), "line 1, column 46: expected a string, got a number");
  EXPECT_EQ(refusal_of("1 < 2 < 3"), "line 1, column 45: expected '}', got '<'");
  EXPECT_EQ(refusal_of("\"\\q\" == context.task_class"),
            "line 1, column 40: expected one of \\\" \\\\ \\n \\t \\r, got another escape");
}

TEST(PolicyText, unknown_names_are_refused_by_name) {
  EXPECT_EQ(refusal(R"(permit(principal == Agent::"carol", action, resource);)"),
            "line 1, column 21: expected a known entity, got Agent::\"carol\"");
  EXPECT_EQ(refusal(R"(permit(principal == Robot::"alice", action, resource);)"),
            "line 1, column 21: expected a known entity, got Robot::\"alice\"");
  EXPECT_EQ(refusal(R"(permit(principal, action == Action::"fly", resource);)"),
            "line 1, column 29: expected a known action, got Action::\"fly\"");
  EXPECT_EQ(refusal(R"(permit(principal, action == Action::"count_", resource);)"),
            "line 1, column 29: expected a known action, got Action::\"count_\"");
  EXPECT_EQ(refusal_of("resource.owner == \"x\""),
            "line 1, column 39: expected a known fact, got 'resource.owner'");
  EXPECT_EQ(refusal_of("principal.price > 5"),
            "line 1, column 39: expected a known fact, got 'principal.price'");
}

TEST(PolicyText, types_are_checked_when_the_policy_is_loaded) {
  for (const char* condition : {"context.budget",
                                "5",
                                "\"text\"",
                                "principal",
                                "[1, 2]",
                                "context.budget == \"5\"",
                                "context.task_class == 5",
                                "context.task_class < \"b\"",
                                "1 == (2 == 2)",
                                "!5",
                                "!context.budget",
                                "-true",
                                "true + 1 == 2",
                                "1 + \"a\" == 2",
                                "2 * principal == 4",
                                "true && 5",
                                "5 && true",
                                "false || \"a\"",
                                "principal == 5",
                                "5 in Agent::\"team\"",
                                "principal < Agent::\"team\"",
                                "[1, \"a\"].contains(context.budget)",
                                "[\"a\", 1].contains(context.task_class)",
                                "[1].contains(context.task_class)",
                                "[\"a\"].contains(context.budget)",
                                "[].contains(context.budget)",
                                "context.budget like \"5\"",
                                "context.task_class like context.task_class",
                                "context.budget.hasAll(context.budget)",
                                "(1 + 2).hasAll(1)",
                                "context.task_class.hasAll(1)",
                                "context.budget.contains(1)",
                                "context",
                                "context.5",
                                "context.budget hasAll 5"})
    EXPECT_NE(refusal_of(condition), "") << condition;
}

TEST(PolicyText, malformed_rules_are_refused) {
  for (const char* text :
       {"permit",
        "permit(",
        "permit()",
        "permit(action, principal, resource);",
        "permit(principal, action);",
        "permit(principal, action, resource) when true;",
        "permit(principal, action, resource) when {};",
        "permit(principal, action, resource) if { true };",
        "permit(principal, action in [], resource);",
        "permit(principal, action == [Action::\"send\"], resource);",
        "permit(principal, action == Agent::\"send\", resource);",
        "permit(principal, action, resource);;",
        "@id(\"x\")",
        "@id(x) permit(principal, action, resource);",
        "@id(\"\") permit(principal, action, resource);",
        "@name(\"x\") permit(principal, action, resource);",
        "@id(\"x\") @id(\"y\") permit(principal, action, resource);",
        "@id(\"x\") permit(principal, action, resource); @id(\"x\") permit(principal, action, "
        "resource);",
        "@id(\"rule1\") permit(principal, action, resource); permit(principal, action, resource);",
        "permit(principal == Agent::\"alice, action, resource);",
        "permit(principal == Agent::\"ali\nce\", action, resource);",
        "\xff",
        "permit\xc0\x80",
        "/ comment",
        "\"",
        "\x01"})
    EXPECT_NE(refusal(text), "") << text;
}

TEST(PolicyText, every_bound_is_held) {
  const std::string rule = "permit(principal,action,resource);";
  std::string rules;
  for (int i = 0; i < 1000; ++i) rules += rule;
  EXPECT_EQ(compile(rules)->rule_count(), 1000u);
  EXPECT_NE(refusal(rules + rule).find("at most 1000 rules"), std::string::npos);

  std::string long_text = rule + "//";
  long_text.resize(64 * 1024, 'x');
  EXPECT_EQ(compile(long_text)->rule_count(), 1u);
  EXPECT_NE(refusal(long_text + "x").find("at most 65536 bytes"), std::string::npos);

  const auto nested = [](int levels, const char* open, const char* inner, const char* close) {
    std::string text;
    for (int i = 0; i < levels; ++i) text += open;
    text += inner;
    for (int i = 0; i < levels; ++i) text += close;
    return text;
  };
  EXPECT_TRUE(holds(nested(64, "(", "true", ")")));
  EXPECT_TRUE(holds(nested(64, "!", "true", "")));
  EXPECT_TRUE(holds(nested(64, "1 + 1 * (", "1", ")") + " == 65"));
  EXPECT_NE(refusal_of(nested(65, "(", "true", ")")).find("64 levels"), std::string::npos);
  EXPECT_NE(refusal_of(nested(65, "!", "true", "")).find("64 levels"), std::string::npos);
  EXPECT_NE(refusal_of(nested(65, "- ", "context.budget", "") + " == 1").find("64 levels"),
            std::string::npos);

  // n additions are n + 1 pushes and n sums; then come push, test, fire and skip.
  EXPECT_TRUE(holds("0" + nested(2045, "+0", "", "") + " == context.amount"));
  EXPECT_NE(refusal_of("0" + nested(2046, "+0", "", "") + " == context.amount").find("4096 instr"),
            std::string::npos);
  EXPECT_TRUE(holds("true" + nested(3000, "&&0==context.amount", "", "")));
}

}  // namespace
}  // namespace hanse
