// Free attributes, sets, conditionals, kinds, schemas and annotations of the rule language.
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "policy/compiled.hpp"

namespace hanse {
namespace {

constexpr uint32_t alice = 1, bob = 2, team = 3;

uint32_t resolve(std::string_view, std::string_view name) {
  return name == "alice" ? alice : name == "bob" ? bob : name == "team" ? team : index_none;
}

std::shared_ptr<const Program> compile(std::string_view text, std::string_view schema = {}) {
  return Program::compile(text, resolve, schema);
}

std::string refusal(std::string_view text, std::string_view schema = {}) {
  try {
    compile(text, schema);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::policy_compile);
    return error.field() + ": " + error.detail();
  }
  ADD_FAILURE() << "compiled: " << text;
  return {};
}

std::string when(std::string_view condition) {
  return "permit(principal, action, resource) when { " + std::string(condition) + " };";
}

// alice, a human of team, asks about bob, an agent.
struct Asked {
  Request request;
  std::vector<Value> attributes;
  ValueSet tags = ValueSet::of_texts({"red", "green"}), numbers = ValueSet::of_integers({1, 2, 3});

  Asked() {
    request.principal.chain = {alice, team, 0};
    request.principal.size = 3;
    request.resource.chain = {bob, team, 0};
    request.resource.size = 3;
    request.task_class = "summarise";
    request[Fact::principal_kind] = 1;
  }
  Value named(std::string_view name) const {
    if (name == "context.flag") return Value::of_boolean(true);
    if (name == "context.size") return Value::of_integer(7);
    if (name == "context.name") return Value::of_text("Ada");
    if (name == "context.tags") return Value::of_set(tags);
    if (name == "context.numbers") return Value::of_set(numbers);
    if (name == "context.odd name") return Value::of_integer(1);
    return Value::none();
  }
  Decision decide(const Program& program) {
    attributes.clear();
    for (const std::string& name : program.attributes()) attributes.push_back(named(name));
    request.attributes = attributes;
    return program.decide(request, 1);
  }
};

Decision decide(std::string_view text) { return Asked().decide(*compile(text)); }

TEST(PolicyLanguage, conditions_that_hold) {
  for (const char* condition : {
           "context.flag",
           "context.flag == true && !(context.flag == false)",
           "(1 == 1) == context.flag",
           "context.size == 7 && context.size > 6 && context.size + 1 == 8",
           "context.name == \"Ada\" && context.name != \"ada\" && context.name like \"A*\"",
           "context[\"odd name\"] == 1 && context has \"odd name\"",
           "context has size && !(context has weight)",
           "context has weight && context.weight > 5 || context.size == 7",
           "context.tags.contains(\"red\") && !context.tags.contains(\"blue\")",
           "context.tags.containsAll([\"red\"]) && context.tags.containsAny([\"blue\", \"green\"])",
           "[\"red\", \"green\", \"blue\"].containsAll(context.tags)",
           "context.tags == [\"green\", \"red\", \"red\"]",
           "context.numbers.contains(context.size - 5) && !context.numbers.isEmpty()",
           "[\"Ada\", \"Bob\"].contains(context.name)",
           "!context.tags.contains(1) && !(context.size == \"7\")",
           "if context.flag then context.size == 7 else context.weight == 1",
           "(if context has weight then context.weight else 5) == 5",
           "(if context.size < 3 then \"small\" else \"large\") == \"large\"",
           "[1, 2].contains(if context.flag then 2 else 9)",
           "principal is Human && !(resource is Human) && resource is Agent",
           "principal is Human in Agent::\"team\" && principal in [Agent::\"bob\", "
           "Agent::\"team\"]",
           "principal == Agent::\"alice\" && Agent::\"alice\" == principal",
           "principal != resource && principal in principal && !(principal in resource)",
           "action == Action::\"dispatch\" && action != Action::\"send\"",
           "action in [Action::\"send\", Action::\"dispatch\"]",
           "context has budget && context.budget == 0 && context has task_class",
           "context.task_class like \"*mar*\" && \"a*b\" like \"a\\*b\"",
       }) {
    const Decision decision = decide(when(condition));
    EXPECT_TRUE(decision.allowed) << condition;
    EXPECT_FALSE(decision.error) << condition;
  }
}

TEST(PolicyLanguage, what_cannot_be_evaluated_denies_with_an_error) {
  for (const char* condition : {
           "context.weight == 1",
           "context.size",
           "!context.name",
           "context.flag && context.size",
           "context.size < context.name",
           "context.name + 1 == 2",
           "-context.flag == 1",
           "context.size like \"7\"",
           "context.size.contains(7)",
           "context.tags.containsAll(context.size)",
           "context.name.isEmpty()",
           "context.size + 9223372036854775807 > 0",
           "if context.size then true else true",
           "(if context.flag then context.weight else 1) == 1",
       }) {
    const Decision permits = decide(when(condition));
    EXPECT_FALSE(permits.allowed) << condition;
    EXPECT_TRUE(permits.error) << condition;
    const Decision beside = decide("permit(principal, action, resource);" + when(condition));
    EXPECT_FALSE(beside.allowed) << condition;
  }
}

TEST(PolicyLanguage, what_is_settled_before_does_not_fail) {
  EXPECT_TRUE(decide(when("true || context.weight == 1")).allowed);
  EXPECT_FALSE(decide(when("false && context.weight == 1")).error);
  EXPECT_TRUE(decide(when("if false then context.weight == 1 else true")).allowed);
}

TEST(PolicyLanguage, kinds_in_a_scope_choose_the_rules) {
  const auto allowed = [](const char* scope) {
    return decide("permit(principal " + std::string(scope) + ", action, resource);").allowed;
  };
  EXPECT_TRUE(allowed("is Human"));
  EXPECT_TRUE(allowed("is Human in Agent::\"team\""));
  EXPECT_FALSE(allowed("is Human in Agent::\"bob\""));
  EXPECT_FALSE(allowed("is Group"));
  EXPECT_TRUE(decide("permit(principal, action, resource is Agent);").allowed);
  EXPECT_FALSE(decide("permit(principal, action, resource is Tool);").allowed);

  Asked alone;
  alone.request.resource = {};
  EXPECT_FALSE(alone.decide(*compile("permit(principal, action, resource is Agent);")).allowed);
  EXPECT_FALSE(alone.decide(*compile(when("resource is Agent"))).allowed);
}

TEST(PolicyLanguage, a_schema_makes_types_errors_at_load) {
  const char* const schema =
      "context.tags: Set<String>; context.ids: Set<Long>;\n context.note?: String; "
      "context.on: Bool; resource.owner: Long;";
  for (const char* condition :
       {"context.on", "context.tags.contains(\"x\")", "context.ids.containsAll([1, 2])",
        "context has note && context.note like \"a*\"", "resource.owner == 5", "context.ids == [1]",
        "context.budget > 5"})
    compile(when(condition), schema);
  EXPECT_EQ(refusal(when("context.tags.contains(5)"), schema),
            "policy: line 1, column 66: expected a string, got a number");
  EXPECT_EQ(refusal(when("context.weight == 1"), schema),
            "policy: line 1, column 44: expected a fact or an attribute of the schema, got "
            "'context.weight'");
  for (const char* condition :
       {"context.note", "context.on == 1", "context.tags < 5", "context.ids.contains(\"x\")",
        "context.tags.containsAny([1])", "context.tags == [1]", "context.note + 1 == 2",
        "resource.owner like \"x\"", "context has weight",
        "(if context.on then 1 else \"x\") == 1"})
    EXPECT_NE(refusal(when(condition), schema), "") << condition;
}

TEST(PolicyLanguage, a_schema_that_is_wrong_is_named) {
  EXPECT_EQ(refusal("", "context.a: Long; context.a: Bool;"),
            "schema: line 1, column 18: expected each attribute once, got 'context.a' again");
  EXPECT_EQ(refusal("", "context.a: Float;"),
            "schema: line 1, column 12: expected Long, Bool, String or Set<…>, got 'Float'");
  for (const char* schema :
       {"budget: Long;", "context: Long", "context.a Long", "context.a: Set<Bool>;",
        "context.a: Set<Set<Long>>;", "context.a: Set;", "context.a: Long context.b: Long"})
    EXPECT_NE(refusal("", schema), "") << schema;
}

TEST(PolicyLanguage, a_value_is_held_against_the_schema) {
  const auto program = compile("", "context.tags: Set<String>; context.on: Bool;");
  const ValueSet texts = ValueSet::of_texts({"a"}), numbers = ValueSet::of_integers({1});
  EXPECT_EQ(program->attribute_misfit("context.tags", Value::of_set(texts)), nullptr);
  EXPECT_STREQ(program->attribute_misfit("context.tags", Value::of_set(numbers)),
               "a set of strings");
  EXPECT_STREQ(program->attribute_misfit("context.on", Value::of_integer(1)), "a boolean");
  EXPECT_NE(program->attribute_misfit("context.other", Value::of_integer(1)), nullptr);
  EXPECT_EQ(compile("")->attribute_misfit("context.other", Value::of_integer(1)), nullptr);
}

TEST(PolicyLanguage, obligations_are_those_of_all_permits_that_fired) {
  const char* const text = R"(
    permit(principal, action, resource);
    @id("a") @obligation("approval, verifier") @approver("legal")
    permit(principal, action == Action::"dispatch", resource) when { context.size > 5 };
    @id("b") @redact("payload") @rate("100/60s")
    permit(principal, action == Action::"dispatch", resource);
    @obligation("approval") permit(principal, action == Action::"dispatch", resource)
      when { false };
  )";
  const auto program = compile(text);
  const Decision decision = Asked().decide(*program);
  EXPECT_TRUE(decision.allowed);
  EXPECT_EQ(decision.obligations,
            obligation_approval | obligation_verifier | obligation_redact | obligation_rate);
  ASSERT_EQ(decision.obliging_count, 2u);
  EXPECT_EQ(decision.obliging[0], 1);
  EXPECT_EQ(program->rule(1).approver, "legal");
  EXPECT_EQ(program->rule(2).redact, redact_payload);
  EXPECT_EQ(program->rule(2).rate.count, 100u);
  EXPECT_EQ(program->rule(2).rate.seconds, 60u);

  const Decision denied = decide(std::string(text) + "forbid(principal, action, resource);");
  EXPECT_FALSE(denied.allowed);
  EXPECT_EQ(denied.obligations, 0);
}

TEST(PolicyLanguage, a_lesson_asks_and_never_grants) {
  const char* const lesson =
      "@lesson(\"17\") @obligation(\"approval\") "
      "permit(principal, action == Action::\"dispatch\", resource);";
  EXPECT_FALSE(decide(lesson).allowed);
  const Decision both = decide(std::string("permit(principal, action, resource);") + lesson);
  EXPECT_TRUE(both.allowed);
  EXPECT_EQ(both.obligations, obligation_approval);
  EXPECT_EQ(compile(lesson)->rule(0).lesson, 17u);
}

TEST(PolicyLanguage, more_obliging_rules_than_a_decision_holds_deny) {
  std::string text = "permit(principal, action, resource);";
  for (int i = 0; i < 9; ++i)
    text +=
        "@obligation(\"verifier\") permit(principal, action == Action::\"dispatch\", resource);";
  const Decision decision = decide(text);
  EXPECT_FALSE(decision.allowed);
  EXPECT_TRUE(decision.error);
}

TEST(PolicyLanguage, obligations_that_make_no_sense_are_refused) {
  const std::string head = "permit(principal, action == Action::\"dispatch\", resource);";
  for (const char* annotation :
       {"@obligation(\"\")", "@obligation(\"approvel\")", "@obligation(\"approval,\")",
        "@obligaton(\"approval\")", "@rate(\"100\")", "@rate(\"0/60s\")", "@rate(\"5/60m\")",
        "@rate(\"-1/60s\")", "@rate(\"5/0s\")", "@redact(\"tokens\")", "@approver(\"legal\")",
        "@lesson(\"x\")", "@obligation", "@obligation(\"approval\") @obligation(\"verifier\")"})
    EXPECT_NE(refusal(annotation + head), "") << annotation;
  EXPECT_NE(refusal("@obligation(\"approval\") forbid(principal, action, resource);"), "");
  EXPECT_NE(refusal("@obligation(\"approval\") permit(principal, action, resource);"), "");
}

TEST(PolicyLanguage, at_most_256_attributes) {
  const auto asking = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += when("context.a" + std::to_string(i) + " == 1");
    return text;
  };
  EXPECT_EQ(compile(asking(256))->attributes().size(), 256u);
  EXPECT_NE(refusal(asking(257)).find("at most 256 attributes"), std::string::npos);
}

}  // namespace
}  // namespace hanse
