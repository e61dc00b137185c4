// What no hand-written example covers: random texts, a second evaluator, and corrupted programs.
#include <gtest/gtest.h>

#include <optional>

#include "base/error.hpp"
#include "base/random.hpp"
#include "policy/compiled.hpp"

namespace hanse {
namespace {

using namespace policy;

uint32_t resolve(std::string_view, std::string_view name) {
  return name == "a" ? 1 : name == "b" ? 2 : index_none;
}

const char* const valid_text = R"(
// Every part of the grammar.
@id("first") permit(principal in Agent::"a", action, resource) when { context.budget <= 100 };
permit(principal, action in [Action::"send", Action::"dispatch"], resource == Agent::"b")
  when { [1, 2, 3].contains(resource.tier + 1) || context.task_class like "a*b" }
  unless { resource.skills.hasAll(3) && !(context.amount * 2 - -5 >= 7) };
forbid(principal == Agent::"b", action == Action::"transfer", resource)
  when { principal in Agent::"a" && resource != Agent::"b" && true }
  when { ["x", "y\n"].contains(context.task_class) || context.task_class == "z\"" };
)";

// Compiles, or throws policy_compile; anything else ends the test.
bool compiles(const std::string& text) {
  try {
    const auto program = Program::compile(text, resolve);
    Request request;
    request.task_class = "ab";
    for (size_t action = 0; action < action_count; ++action) {
      request.action = Action(action);
      const Decision decision = program->decide(request, 1);
      EXPECT_LE(decision.rule_count, program->rule_count());
    }
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::policy_compile) << error.what();
    EXPECT_EQ(error.detail().rfind("line ", 0), 0u) << error.detail();
    return false;
  }
}

TEST(PolicyProgram, random_bytes_compile_or_are_refused) {
  constexpr std::string_view alphabet = "permit(principal,action)\"{}[]=!<>&|+-*.:;@ \n\\019\xc3";
  for (uint64_t seed = 0; seed < 10'000; ++seed) {
    Random random(seed);
    std::string text(random.below(120), ' ');
    for (char& c : text)
      c = random.chance(900) ? alphabet[random.below(alphabet.size())] : char(random.below(256));
    compiles(text);
  }
}

TEST(PolicyProgram, mutated_texts_compile_or_are_refused) {
  const std::string original = valid_text;
  ASSERT_TRUE(compiles(original));
  int accepted = 0, refused = 0;
  for (uint64_t seed = 0; seed < 10'000; ++seed) {
    Random random(seed);
    std::string text = original;
    for (uint64_t edits = 1 + random.below(3); edits > 0 && !text.empty(); --edits) {
      const size_t at = random.below(text.size());
      const size_t size = random.below(12);
      switch (random.below(4)) {
        case 0:
          text[at] = char(random.below(256));
          break;
        case 1:
          text.erase(at, size);
          break;
        case 2:
          text.insert(at, text.substr(random.below(text.size()), size));
          break;
        default:
          std::swap(text[at], text[random.below(text.size())]);
          break;
      }
    }
    ++(compiles(text) ? accepted : refused);
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 1000);
}

// --- a second evaluator: walks trees, knows nothing of the compiler

struct Tree {
  std::string op;  // a number, a fact's text, or an operator
  std::vector<Tree> parts;
  int64_t value = 0;
};

Tree random_integer(Random& random, int depth) {
  constexpr int64_t interesting[] = {0, 1, 2, 3, -1, -2, 50, INT64_MAX, INT64_MIN, 1l << 32};
  static const char* const facts[] = {"context.budget", "context.amount", "resource.tier",
                                      "principal.depth"};
  if (depth == 0 || random.chance(300)) {
    if (random.chance(500)) return {"number", {}, interesting[random.below(10)]};
    return {facts[random.below(4)], {}};
  }
  static const char* const ops[] = {"+", "-", "*", "neg"};
  Tree tree{ops[random.below(4)], {}};
  tree.parts.push_back(random_integer(random, depth - 1));
  if (tree.op != "neg") tree.parts.push_back(random_integer(random, depth - 1));
  return tree;
}

Tree random_boolean(Random& random, int depth) {
  static const char* const relations[] = {"==", "!=", "<", "<=", ">", ">="};
  if (depth == 0 && random.chance(200)) return {random.chance(500) ? "true" : "false", {}};
  if (depth == 0 || random.chance(300)) {
    if (random.chance(200))
      return {"contains", {random_integer(random, depth)}, int64_t(random.below(4))};
    Tree tree{relations[random.below(6)], {}};
    tree.parts.push_back(random_integer(random, depth));
    tree.parts.push_back(random_integer(random, depth));
    return tree;
  }
  static const char* const ops[] = {"&&", "||", "!"};
  Tree tree{ops[random.below(3)], {}};
  tree.parts.push_back(random_boolean(random, depth - 1));
  if (tree.op != "!") tree.parts.push_back(random_boolean(random, depth - 1));
  return tree;
}

int level(const Tree& tree) {
  if (tree.op == "||") return 1;
  if (tree.op == "&&") return 2;
  if (tree.op == "==" || tree.op == "!=" || tree.op[0] == '<' || tree.op[0] == '>') return 3;
  if (tree.op == "+" || tree.op == "-") return 4;
  if (tree.op == "*") return 5;
  if (tree.op == "!" || tree.op == "neg") return 6;
  return 7;
}

// With as few parentheses as precedence allows, so that precedence is what is tested.
std::string written(const Tree& tree, int least = 0) {
  std::string text;
  const int own = level(tree);
  if (tree.op == "number") {
    text = std::to_string(tree.value);
  } else if (tree.op == "contains") {
    text = "[" + std::to_string(tree.value) + ", 50].contains(" + written(tree.parts[0]) + ")";
  } else if (tree.op == "!") {
    text = "!" + written(tree.parts[0], own);
  } else if (tree.op == "neg") {
    text = "-(" + written(tree.parts[0]) + ")";
  } else if (tree.parts.size() == 2) {
    // Relations don't chain, the others group to the left.
    text = written(tree.parts[0], own == 3 ? 4 : own) + " " + tree.op + " " +
           written(tree.parts[1], own + 1);
  } else {
    text = tree.op;
  }
  return own < least ? "(" + text + ")" : text;
}

using Value = std::optional<__int128>;  // none: overflow
Value evaluate(const Tree& tree, const Request& request) {
  const auto fact = [&](Fact name) { return Value(request.facts[size_t(name)]); };
  if (tree.op == "number") return tree.value;
  if (tree.op == "true") return 1;
  if (tree.op == "false") return 0;
  if (tree.op == "context.budget") return fact(Fact::budget);
  if (tree.op == "context.amount") return fact(Fact::amount);
  if (tree.op == "resource.tier") return fact(Fact::resource_tier);
  if (tree.op == "principal.depth") return fact(Fact::principal_depth);

  const Value a = evaluate(tree.parts[0], request);
  if (!a) return a;
  if (tree.op == "!") return *a == 0;
  if (tree.op == "contains") return *a == tree.value || *a == 50;
  if (tree.op == "&&" && *a == 0) return 0;
  if (tree.op == "||" && *a == 1) return 1;
  Value result;
  if (tree.op == "neg") {
    result = -*a;
  } else {
    const Value b = evaluate(tree.parts[1], request);
    if (!b || tree.op == "&&" || tree.op == "||") return b;
    if (tree.op == "==") return *a == *b;
    if (tree.op == "!=") return *a != *b;
    if (tree.op == "<") return *a < *b;
    if (tree.op == "<=") return *a <= *b;
    if (tree.op == ">") return *a > *b;
    if (tree.op == ">=") return *a >= *b;
    result = tree.op == "+" ? *a + *b : tree.op == "-" ? *a - *b : *a * *b;
  }
  return *result < INT64_MIN || *result > INT64_MAX ? Value() : result;
}

TEST(PolicyProgram, random_conditions_have_the_value_that_a_walk_over_the_tree_finds) {
  int counts[3] = {};
  for (uint64_t seed = 0; seed < 5'000; ++seed) {
    Random random(seed);
    const Tree when = random_boolean(random, 4), unless = random_boolean(random, 2);
    const std::string text = "permit(principal, action, resource) when { " + written(when) +
                             " } unless { " + written(unless) + " };";
    const auto program = Program::compile(text, resolve);
    for (int i = 0; i < 4; ++i) {
      Request request;
      for (int64_t& fact : request.facts)
        fact = random.chance(150) ? INT64_MAX - int64_t(random.below(2)) : int64_t(random.below(4));
      Value expected = evaluate(when, request);
      if (expected && *expected == 1) {
        const Value negated = evaluate(unless, request);
        expected = negated ? Value(1 - *negated) : Value();
      }
      const Decision decision = program->decide(request, 1);
      EXPECT_EQ(decision.error, !expected) << text;
      EXPECT_EQ(decision.allowed, expected && *expected == 1) << text;
      ++counts[expected ? int(*expected) : 2];
    }
  }
  for (const int count : counts) EXPECT_GT(count, 1000);
}

// --- the verifier

Code valid_code() { return compile_text(valid_text, resolve).code; }

Instruction& first_of(Code& code, Op op) {
  for (Instruction& instruction : code.instructions)
    if (instruction.op == op) return instruction;
  throw std::logic_error("no such instruction");
}

TEST(PolicyVerifier, what_the_compiler_makes_is_accepted) {
  EXPECT_EQ(find_fault(valid_code()), "");
}

TEST(PolicyVerifier, every_kind_of_corruption_is_refused) {
  struct Case {
    const char* name;
    void (*corrupt)(Code&);
    const char* fault;
  };
  const Case cases[] = {
      {"backward jump", [](Code& c) { first_of(c, Op::test_fact).target = 0; }, "jump target"},
      {"jump past the rule", [](Code& c) { first_of(c, Op::test_fact).target = 99; },
       "jump target"},
      {"jump into an expression",
       [](Code& c) {
         // From the first test of the second rule to a sum whose first number it skips.
         const Rule& rule = c.rules[1];
         for (uint32_t i = 0; i < rule.code_size; ++i)
           if (c.instructions[rule.code_begin + i].op == Op::multiply)
             first_of(c, Op::test_contains).target = uint16_t(i);
       },
       "between depths"},
      {"fact", [](Code& c) { first_of(c, Op::push_fact).fact = uint8_t(fact_count); }, "fact"},
      {"fact of a test without one", [](Code& c) { first_of(c, Op::test_class_like).fact = 255; },
       "fact"},
      {"comparison", [](Code& c) { first_of(c, Op::test_fact).compare = Compare(7); },
       "unknown comparison"},
      {"opcode", [](Code& c) { first_of(c, Op::fire).op = Op(200); }, "unknown instruction"},
      {"number set", [](Code& c) { first_of(c, Op::test_contains).operand = 1; }, "number set"},
      {"negative index", [](Code& c) { first_of(c, Op::test_contains).operand = -1; },
       "number set"},
      {"text", [](Code& c) { first_of(c, Op::test_class_equal).operand = 1; }, "text"},
      {"pattern", [](Code& c) { first_of(c, Op::test_class_like).operand = 7; }, "pattern"},
      {"text set", [](Code& c) { first_of(c, Op::test_class_in).operand = 7; }, "text set"},
      {"agent", [](Code& c) { first_of(c, Op::test_principal_in).operand = INT64_MAX; }, "agent"},
      {"underflow", [](Code& c) { first_of(c, Op::push_fact).op = Op::negate; }, "underflow"},
      {"value left on the stack", [](Code& c) { first_of(c, Op::fire).op = Op::push_constant; },
       "between depths"},
      {"no end",
       [](Code& c) {
         c.instructions[c.rules[0].code_begin + c.rules[0].code_size - 1].op = Op::push_constant;
       },
       "without end"},
      {"no code", [](Code& c) { c.rules[0].code_size = 0; }, "size of a rule"},
      {"too much code", [](Code& c) { c.rules[0].code_size = 4097; }, "size of a rule"},
      {"code past the end", [](Code& c) { c.rules[2].code_size += 1; }, "place of a rule"},
      {"code outside", [](Code& c) { c.rules[2].code_begin = UINT32_MAX; }, "place of a rule"},
      {"effect", [](Code& c) { c.rules[0].effect = Effect(2); }, "effect"},
      {"scope", [](Code& c) { c.rules[0].principal_scope = Scope::count_; }, "scope"},
      {"scope of none", [](Code& c) { c.rules[0].resource_scope = Scope::in; }, "scope"},
      {"no action", [](Code& c) { c.rules[0].actions = 0; }, "actions"},
      {"action unknown", [](Code& c) { c.rules[0].actions |= 1u << 31; }, "actions"},
      {"set out of order", [](Code& c) { c.integer_sets[0] = {2, 1}; }, "order"},
      {"set with duplicates", [](Code& c) { c.text_sets[0] = {"x", "x"}; }, "order"},
      {"pattern without pieces", [](Code& c) { c.patterns[0].pieces.clear(); }, "empty pattern"},
      {"a forbid missing in the index",
       [](Code& c) { c.by_action[size_t(Action::transfer)][1].pop_back(); }, "index"},
      {"a rule number out of range",
       [](Code& c) { c.by_action[size_t(Action::transfer)][4].push_back(900); }, "index"},
      {"too many rules", [](Code& c) { c.rules.resize(1001); }, "too many rules"},
  };
  for (const Case& each : cases) {
    Code code = valid_code();
    each.corrupt(code);
    const std::string fault = find_fault(code);
    EXPECT_NE(fault.find(each.fault), std::string::npos) << each.name << ": " << fault;
  }
}

TEST(PolicyVerifier, a_stack_that_would_overflow_is_refused) {
  Code code = valid_code();
  std::vector<Instruction> deep(stack_slots_max + 1, Instruction{.op = Op::push_constant});
  deep.push_back({.op = Op::fire});
  code.rules[0].code_begin = uint32_t(code.instructions.size());
  code.rules[0].code_size = uint32_t(deep.size());
  code.instructions.insert(code.instructions.end(), deep.begin(), deep.end());
  EXPECT_NE(find_fault(code).find("stack overflow"), std::string::npos);
}

// Whatever passes the verifier must run to its end: the sanitizers watch for anything else.
TEST(PolicyVerifier, random_corruption_is_refused_or_harmless) {
  const Code original = valid_code();
  int accepted = 0, refused = 0;
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    Random random(seed);
    Code code = original;
    for (uint64_t edits = 1 + random.below(3); edits > 0; --edits) {
      Instruction& instruction = code.instructions[random.below(code.instructions.size())];
      switch (random.below(6)) {
        case 0:
          instruction.op = Op(random.below(size_t(Op::count_) + 1));
          break;
        case 1:
          instruction.target = uint16_t(random.below(20));
          break;
        case 2:
          instruction.operand = int64_t(random.below(4)) - 1;
          break;
        case 3:
          instruction.fact = uint8_t(random.below(fact_count + 1));
          break;
        case 4:
          instruction.sense = !instruction.sense;
          break;
        default:
          instruction.compare = Compare(random.below(8));
          break;
      }
    }
    if (!find_fault(code).empty()) {
      ++refused;
      continue;
    }
    ++accepted;
    Request request;
    request.task_class = "ab";
    for (int64_t& fact : request.facts) fact = int64_t(random.next());
    for (size_t action = 0; action < action_count; ++action) {
      request.action = Action(action);
      EXPECT_LE(decide_with(code, request, 1).rule_count, code.rules.size());
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace hanse
