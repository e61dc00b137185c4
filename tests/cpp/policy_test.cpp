#include "policy/policy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "base/random.hpp"

namespace hanse {
namespace {

constexpr uint32_t alice = 1, bob = 2, team = 3;

uint32_t resolve(std::string_view type, std::string_view name) {
  if (type != "Agent") return index_none;
  if (name == "alice") return alice;
  if (name == "bob") return bob;
  if (name == "team") return team;
  if (name == "a \"quoted\"\\\nname") return 9;
  if (name == "#4294967303") return 7;
  return index_none;
}

std::shared_ptr<const Program> compile(std::string_view text) {
  return Program::compile(text, resolve);
}

Lineage lineage(std::initializer_list<uint32_t> chain) {
  Lineage result{};
  for (const uint32_t agent : chain) result.chain[result.size++] = agent;
  return result;
}

// alice of team asks for a dispatch to bob of team.
Request request() {
  Request request;
  request.principal = lineage({alice, team, 0});
  request.resource = lineage({bob, team, 0});
  request.task_class = "summarise";
  request[Fact::budget] = 100;
  request[Fact::resource_skills] = 0b0110;
  request[Fact::resource_tier] = 2;
  return request;
}

Decision decide(std::string_view text, const Request& asked = request()) {
  return compile(text)->decide(asked, 7);
}

bool holds(const std::string& condition, const Request& asked = request()) {
  const Decision decision =
      decide("permit(principal, action, resource) when {" + condition + "};", asked);
  EXPECT_FALSE(decision.error) << condition;
  return decision.allowed;
}

TEST(Policy, an_empty_text_denies_everything) {
  for (const char* text : {"", " \n\t", "// nothing\n", "// no newline at the end"}) {
    const Decision decision = decide(text);
    EXPECT_FALSE(decision.allowed);
    EXPECT_FALSE(decision.error);
    EXPECT_EQ(decision.rule_count, 0u);
    EXPECT_EQ(decision.epoch, 7u);
  }
}

TEST(Policy, the_rule_at_birth_permits_every_action) {
  const auto program = compile(policy_at_birth);
  for (size_t action = 0; action < size_t(Action::count_); ++action) {
    Request asked = request();
    asked.action = Action(action);
    asked.resource = {};
    EXPECT_TRUE(program->decide(asked, 1).allowed) << action_name(asked.action);
  }
  EXPECT_EQ(program->rule_count(), 1u);
  EXPECT_EQ(program->rule_name(0), "rule0");
  EXPECT_EQ(program->text(), policy_at_birth);
}

TEST(Policy, a_forbid_overrides_every_permit_and_is_named) {
  const Decision decision = decide(R"(
    permit(principal, action, resource);
    permit(principal, action, resource);
    @id("no small tiers") forbid(principal, action, resource) when { resource.tier < 3 };
  )");
  EXPECT_FALSE(decision.allowed);
  EXPECT_FALSE(decision.error);
  EXPECT_EQ(decision.rule_count, 1u);
  EXPECT_EQ(decision.rules[0], 2);
}

TEST(Policy, a_forbid_alone_permits_nothing) {
  EXPECT_FALSE(decide("forbid(principal, action, resource) when { false };").allowed);
}

TEST(Policy, the_permits_that_fired_are_named_up_to_eight_and_counted_beyond) {
  std::string text = "permit(principal, action, resource) when { false };";
  for (int i = 0; i < 10; ++i) text += "permit(principal, action, resource);";
  const Decision decision = decide(text);
  EXPECT_TRUE(decision.allowed);
  EXPECT_EQ(decision.rule_count, 10u);
  for (uint16_t i = 0; i < rules_fired_max; ++i) EXPECT_EQ(decision.rules[i], i + 1);
}

TEST(Policy, names_and_texts_of_rules_are_as_written) {
  const auto program = compile(
      "@id(\"first \\\"one\\\"\")\npermit(principal, action, resource);  // why\n"
      "forbid ( principal, action, resource ) when { false } ;");
  EXPECT_EQ(program->rule_name(0), "first \"one\"");
  EXPECT_EQ(program->rule_text(0),
            "@id(\"first \\\"one\\\"\")\npermit(principal, action, resource);");
  EXPECT_EQ(program->rule_name(1), "rule1");
  EXPECT_EQ(program->rule_text(1), "forbid ( principal, action, resource ) when { false } ;");
  EXPECT_THROW(program->rule_name(2), Error);
  EXPECT_THROW(program->rule_text(2), Error);
}

TEST(Policy, a_scope_with_equals_matches_the_agent_and_in_matches_its_ancestors) {
  const auto allowed = [](const std::string& principal, const std::string& resource) {
    return decide("permit(principal" + principal + ", action, resource" + resource + ");").allowed;
  };
  EXPECT_TRUE(allowed(R"( == Agent::"alice")", ""));
  EXPECT_FALSE(allowed(R"( == Agent::"team")", ""));
  EXPECT_TRUE(allowed(R"( in Agent::"team")", ""));
  EXPECT_TRUE(allowed(R"( in Agent::"alice")", ""));
  EXPECT_FALSE(allowed(R"( in Agent::"bob")", ""));
  EXPECT_TRUE(allowed("", R"( == Agent::"bob")"));
  EXPECT_FALSE(allowed("", R"( == Agent::"team")"));
  EXPECT_TRUE(allowed("", R"( in Agent::"team")"));
  EXPECT_FALSE(allowed("", R"( in Agent::"alice")"));
}

TEST(Policy, only_an_unscoped_rule_matches_an_empty_resource) {
  Request asked = request();
  asked.resource = {};
  EXPECT_TRUE(decide("permit(principal, action, resource);", asked).allowed);
  EXPECT_FALSE(decide(R"(permit(principal, action, resource == Agent::"bob");)", asked).allowed);
  EXPECT_FALSE(decide(R"(permit(principal, action, resource in Agent::"team");)", asked).allowed);
  EXPECT_FALSE(holds(R"(resource == Agent::"bob")", asked));
  EXPECT_TRUE(holds(R"(resource != Agent::"bob")", asked));
  EXPECT_FALSE(holds(R"(resource in Agent::"team")", asked));
}

TEST(Policy, a_rule_is_asked_for_its_actions_only) {
  const auto one = compile(R"(permit(principal, action == Action::"dispatch", resource);)");
  const auto two = compile(
      R"(permit(principal, action in [Action::"send", Action::"dispatch", Action::"send"], resource);)");
  const auto in_one = compile(R"(permit(principal, action in Action::"send", resource);)");
  for (size_t action = 0; action < size_t(Action::count_); ++action) {
    Request asked = request();
    asked.action = Action(action);
    const bool dispatch = asked.action == Action::dispatch, send = asked.action == Action::send;
    EXPECT_EQ(one->decide(asked, 1).allowed, dispatch);
    EXPECT_EQ(two->decide(asked, 1).allowed, dispatch || send);
    EXPECT_EQ(in_one->decide(asked, 1).allowed, send);
  }
}

TEST(Policy, each_comparison_agrees_with_the_integers) {
  for (const int64_t value : {INT64_MIN, int64_t(-1), int64_t(0), int64_t(5), INT64_MAX}) {
    Request asked = request();
    asked[Fact::amount] = value;
    EXPECT_EQ(holds("context.amount == 5", asked), value == 5);
    EXPECT_EQ(holds("context.amount != 5", asked), value != 5);
    EXPECT_EQ(holds("context.amount < 5", asked), value < 5);
    EXPECT_EQ(holds("context.amount <= 5", asked), value <= 5);
    EXPECT_EQ(holds("context.amount > 5", asked), value > 5);
    EXPECT_EQ(holds("context.amount >= 5", asked), value >= 5);
    EXPECT_EQ(holds("5 < context.amount", asked), 5 < value);
    EXPECT_EQ(holds("5 <= context.amount", asked), 5 <= value);
    EXPECT_EQ(holds("5 > context.amount", asked), 5 > value);
    EXPECT_EQ(holds("5 >= context.amount", asked), 5 >= value);
    EXPECT_EQ(holds("5 == context.amount", asked), 5 == value);
    EXPECT_EQ(holds("context.amount + 0 <= context.budget", asked), value <= 100);
  }
}

TEST(Policy, every_fact_can_be_tested_by_its_name){
#define HANSE_X(name, text)                              \
  {                                                      \
    Request asked = request();                           \
    asked[Fact::name] = 4711;                            \
    EXPECT_TRUE(holds(text " == 4711", asked)) << text;  \
    asked[Fact::name] = 4712;                            \
    EXPECT_FALSE(holds(text " == 4711", asked)) << text; \
  }
    HANSE_FACTS(HANSE_X)
#undef HANSE_X
}

TEST(Policy, operators_bind_as_in_cedar) {
  EXPECT_TRUE(holds("true || false && false"));
  EXPECT_FALSE(holds("(true || false) && false"));
  EXPECT_TRUE(holds("2 + 3 * 4 == 14"));
  EXPECT_TRUE(holds("(2 + 3) * 4 == 20"));
  EXPECT_TRUE(holds("10 - 4 - 3 == 3"));
  EXPECT_TRUE(holds("10 - (4 - 3) == 9"));
  EXPECT_TRUE(holds("-2 * 3 == -6"));
  EXPECT_TRUE(holds("1 - -1 == 2"));
  EXPECT_TRUE(holds("-(2 + 3) == -5"));
  EXPECT_TRUE(holds("!(1 == 2) && !!true"));
  EXPECT_TRUE(holds("1 < 2 && 3 < 4 || 1 == 2"));
  EXPECT_TRUE(holds("!false || false && false"));
}

TEST(Policy, the_greatest_and_least_numbers_can_be_written) {
  EXPECT_TRUE(holds("9223372036854775807 > 9223372036854775806"));
  EXPECT_TRUE(holds("-9223372036854775808 < -9223372036854775807"));
}

TEST(Policy, sets_and_masks_test_membership) {
  EXPECT_TRUE(holds("[3, 2, 1].contains(resource.tier)"));
  EXPECT_FALSE(holds("[3, -2, 1].contains(resource.tier)"));
  EXPECT_TRUE(holds("[7].contains(resource.tier + 5)"));
  EXPECT_TRUE(holds("resource.skills.hasAll(6)"));
  EXPECT_TRUE(holds("resource.skills.hasAll(2)"));
  EXPECT_FALSE(holds("resource.skills.hasAll(3)"));
  EXPECT_TRUE(holds("resource.skills.hasAny(3)"));
  EXPECT_FALSE(holds("resource.skills.hasAny(9)"));
  EXPECT_TRUE(holds("resource.skills.hasAll(0) && !resource.skills.hasAny(0)"));
  Request asked = request();
  asked[Fact::resource_skills] = INT64_MIN;
  EXPECT_TRUE(holds("resource.skills.hasAny(-9223372036854775808)", asked));
}

TEST(Policy, the_task_class_is_compared_and_matched) {
  EXPECT_TRUE(holds(R"(context.task_class == "summarise")"));
  EXPECT_TRUE(holds(R"("summarise" == context.task_class)"));
  EXPECT_FALSE(holds(R"(context.task_class != "summarise")"));
  EXPECT_FALSE(holds(R"(context.task_class == "summarise ")"));
  EXPECT_TRUE(holds(R"(["a", "summarise"].contains(context.task_class))"));
  EXPECT_FALSE(holds(R"(["a", "b"].contains(context.task_class))"));
  EXPECT_TRUE(holds(R"("a" == "a" && "a" != "b")"));
  EXPECT_TRUE(holds("context.task_class == context.task_class"));
}

TEST(Policy, like_matches_stars_and_nothing_else) {
  const auto like = [](std::string_view text, const std::string& pattern) {
    Request asked = request();
    asked.task_class = text;
    return holds("context.task_class like \"" + pattern + "\"", asked);
  };
  EXPECT_TRUE(like("abc", "abc"));
  EXPECT_FALSE(like("abc", "ab"));
  EXPECT_TRUE(like("abc", "*"));
  EXPECT_TRUE(like("", "*"));
  EXPECT_TRUE(like("", "**"));
  EXPECT_TRUE(like("abc", "a*"));
  EXPECT_TRUE(like("abc", "*c"));
  EXPECT_TRUE(like("abc", "a*c"));
  EXPECT_TRUE(like("ac", "a*c"));
  EXPECT_FALSE(like("a", "a*a"));
  EXPECT_TRUE(like("aXbYc", "a*b*c"));
  EXPECT_FALSE(like("acb", "a*b*c"));
  EXPECT_TRUE(like("abab", "*ab"));
  EXPECT_FALSE(like("abcab", "ab*bc*ab"));
  EXPECT_TRUE(like("a*c", "a\\*c"));
  EXPECT_FALSE(like("abc", "a\\*c"));
  EXPECT_FALSE(like("a.c", "a?c"));
}

TEST(Policy, entities_can_be_tested_in_conditions) {
  EXPECT_TRUE(holds(R"(principal == Agent::"alice" && principal in Agent::"team")"));
  EXPECT_TRUE(holds(R"(principal != Agent::"bob" && !(principal in Agent::"bob"))"));
  EXPECT_TRUE(holds(R"(resource == Agent::"bob" && resource in Agent::"team")"));
}

TEST(Policy, names_may_hold_escapes_and_ids) {
  Request asked = request();
  asked.principal = lineage({9, 0});
  EXPECT_TRUE(holds(R"(principal == Agent::"a \"quoted\"\\\nname")", asked));
  asked.principal = lineage({7, 0});
  EXPECT_TRUE(holds(R"(principal == Agent::"#4294967303")", asked));
}

TEST(Policy, every_clause_must_hold_and_unless_negates) {
  const auto allowed = [](const char* clauses) {
    return decide(std::string("permit(principal, action, resource)") + clauses + ";").allowed;
  };
  EXPECT_TRUE(allowed("when { true } unless { false } when { 1 == 1 }"));
  EXPECT_FALSE(allowed("when { true } unless { true }"));
  EXPECT_FALSE(allowed("when { true } when { false }"));
  EXPECT_FALSE(allowed("unless { false } unless { true || false }"));
  EXPECT_TRUE(allowed("unless { true && false }"));
}

TEST(Policy, an_overflow_in_any_rule_denies_and_names_that_rule) {
  for (const char* overflow : {"context.amount + 1 > 0", "-context.amount - 2 < 0",
                               "context.amount * 2 > 0", "-(-context.amount - 1) > 0"}) {
    for (const char* effect : {"permit", "forbid"}) {
      Request asked = request();
      asked[Fact::amount] = INT64_MAX;
      const Decision decision =
          decide("permit(principal, action, resource);" + std::string(effect) +
                     "(principal, action, resource) when {" + overflow + "};",
                 asked);
      EXPECT_FALSE(decision.allowed) << overflow;
      EXPECT_TRUE(decision.error) << overflow;
      EXPECT_EQ(decision.rule_count, 1u);
      EXPECT_EQ(decision.rules[0], 1);
    }
  }
}

TEST(Policy, an_overflow_behind_a_short_circuit_does_not_happen) {
  const std::string overflow = "9223372036854775807 + context.budget > 0";
  EXPECT_TRUE(holds("true || " + overflow));
  EXPECT_FALSE(holds("false && " + overflow));
  EXPECT_TRUE(holds("!(false && " + overflow + ")"));
  EXPECT_FALSE(holds("!(true || " + overflow + ")"));
  EXPECT_FALSE(
      decide("permit(principal, action, resource) when { false } when {" + overflow + "};").error);
  EXPECT_TRUE(decide("permit(principal, action, resource) when {" + overflow + " || true};").error);
}

TEST(Policy, a_rule_out_of_scope_cannot_overflow) {
  EXPECT_TRUE(decide(R"(permit(principal, action, resource);
                        forbid(principal == Agent::"bob", action, resource)
                          when { 9223372036854775807 + context.budget > 0 };)")
                  .allowed);
}

TEST(Policy, the_order_of_rules_does_not_change_the_decision) {
  const std::vector<std::string> bodies = {
      "permit(principal, action, resource);",
      "permit(principal, action, resource) when { resource.tier == 1 };",
      "forbid(principal, action, resource) when { context.amount > 50 };",
      "forbid(principal, action, resource) unless { context.budget < 200 };",
      "forbid(principal, action, resource) when { context.amount * context.budget > 9000 };",
      R"(permit(principal in Agent::"team", action == Action::"dispatch", resource);)",
      R"(forbid(principal, action == Action::"send", resource);)",
  };
  const auto names = [](const Program& program, const Decision& decision) {
    std::vector<std::string> fired;
    for (uint32_t i = 0; i < decision.rule_count; ++i)
      fired.push_back(program.rule_name(decision.rules[i]));
    std::sort(fired.begin(), fired.end());
    return fired;
  };
  Random random(20240607);
  std::vector<size_t> order(bodies.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::shared_ptr<const Program> first;
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (const size_t i : order) text += "@id(\"r" + std::to_string(i) + "\")" + bodies[i];
    const auto program = compile(text);
    if (round == 0) first = program;
    for (int i = 0; i < 10; ++i) {
      Request asked = request();
      asked.action = random.chance(500) ? Action::dispatch : Action::send;
      asked[Fact::amount] = random.chance(200) ? INT64_MAX : int64_t(random.below(100));
      asked[Fact::budget] = int64_t(random.below(300));
      asked[Fact::resource_tier] = int64_t(random.below(3));
      const Decision expected = first->decide(asked, 1), decision = program->decide(asked, 1);
      EXPECT_EQ(decision.allowed, expected.allowed) << text;
      EXPECT_EQ(decision.error, expected.error) << text;
      EXPECT_EQ(names(*program, decision), names(*first, expected)) << text;
    }
    for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
  }
}

}  // namespace
}  // namespace hanse
