// Delegations only narrow, whatever is added, narrowed and moved; and the histories of identities.
#include <gtest/gtest.h>

#include <algorithm>

#include "agent/agent.hpp"
#include "agent/identity.hpp"
#include "agent/reputation.hpp"
#include "base/random.hpp"

namespace hanse {
namespace {

struct Dice {
  uint64_t state;
  uint64_t below(uint64_t bound) {
    state += 0x9e3779b97f4a7c15;
    return mix64(state) % bound;
  }
};

template <class Call>
ErrorCode code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::invariant;
}

void expect_narrowed(const AgentTable& agents, uint32_t i) {
  const uint32_t parent = agents.parent(i);
  ASSERT_EQ(agents.permissions(i) & ~agents.permissions(parent), 0u) << i;
  ASSERT_LE(agents.budget_max(i), agents.budget_max(parent)) << i;
  ASSERT_LE(agents.depth_max(i), agents.depth_max(parent)) << i;
  ASSERT_EQ(agents.depth(i), agents.depth(parent) + 1) << i;
  ASSERT_LE(agents.depth(i), agents.depth_max(i)) << i;
}

// What a random request asks for is granted only where it narrows: an oracle of its own says so.
TEST(Delegation, a_million_random_chains_never_widen) {
  Dice dice{7};
  uint64_t refused = 0, granted = 0;
  AgentTable agents;
  for (uint32_t chain = 0; chain < 1'000'000; ++chain) {
    if (agents.count() > 4096) agents = AgentTable();
    AgentsAdded added;
    const auto parent = uint32_t(dice.below(agents.count()));
    added.parent = agents.id_at(parent);
    added.permissions = dice.below(3) == 0 ? permissions_all : dice.below(256);
    added.budget_max = dice.below(3) == 0 ? budget_unlimited : dice.below(1000);
    const bool fits =
        agents.depth(parent) < agents.depth_max(parent) &&
        (added.permissions == permissions_all ||
         (added.permissions & ~agents.permissions(parent)) == 0) &&
        (added.budget_max == budget_unlimited || added.budget_max <= agents.budget_max(parent));
    const ErrorCode code = code_of([&] { agents.check_add(added); });
    ASSERT_EQ(code == ErrorCode::invariant, fits);
    if (!fits) {
      ++refused;
      continue;
    }
    ++granted;
    expect_narrowed(agents, agents.apply_add(added));
  }
  EXPECT_GT(refused, 100'000u);
  EXPECT_GT(granted, 100'000u);
}

TEST(Delegation, narrowing_and_moving_keep_every_chain_narrow) {
  Dice dice{11};
  uint32_t moved = 0;
  for (int round = 0; round < 50; ++round) {
    AgentTable agents;
    AgentsAdded team;
    team.parent = agents.root();
    team.kind = AgentKind::group;
    agents.apply_add(team);
    for (int step = 0; step < 200; ++step) {
      const auto index = uint32_t(1 + dice.below(agents.count() - 1));
      const auto other = uint32_t(1 + dice.below(agents.count() - 1));
      switch (dice.below(4)) {
        case 0: {
          AgentNarrowed narrowed{agents.id_at(index), dice.below(256), dice.below(1000),
                                 uint32_t(dice.below(17))};
          if (code_of([&] { agents.check_narrow(narrowed); }) == ErrorCode::invariant)
            agents.apply_narrow(index, narrowed);
          break;
        }
        case 1: {
          const bool cycle = agents.within(other, index);
          const ErrorCode code = code_of([&] { agents.check_move(index, other); });
          if (cycle) {
            ASSERT_EQ(code, ErrorCode::delegation_cycle);
          }
          if (code == ErrorCode::invariant) agents.apply_move(index, other), ++moved;
          break;
        }
        default: {
          AgentsAdded added;
          added.parent = agents.id_at(index);
          if (code_of([&] { agents.check_add(added); }) == ErrorCode::invariant)
            agents.apply_add(added);
        }
      }
    }
    for (uint32_t i = 2; i < agents.count(); ++i) expect_narrowed(agents, i);
  }
  EXPECT_GT(moved, 50u);
}

TEST(Delegation, pausing_is_undone_and_revoking_is_not) {
  AgentTable agents;
  AgentsAdded added;
  added.parent = agents.root();
  const uint32_t team = agents.apply_add(added);
  added.parent = agents.id_at(team);
  const uint32_t member = agents.apply_add(added);
  const Digest before = agents.state_hash();
  agents.apply_pause(team, true);
  EXPECT_FALSE(agents.live(member));
  EXPECT_EQ(agents.paused_ancestor(member), team);
  EXPECT_EQ(agents.revoked_ancestor(member), index_none);
  EXPECT_NE(agents.state_hash(), before);
  agents.apply_pause(team, false);
  EXPECT_TRUE(agents.live(member));
  EXPECT_EQ(agents.state_hash(), before);
  agents.apply_revoke(team);
  agents.apply_pause(team, false);
  EXPECT_FALSE(agents.live(member));
}

TEST(Identity, an_entry_follows_the_head_and_is_signed_by_the_key_in_force) {
  IdentityTable identities;
  Digest genesis{}, second{};
  genesis[0] = 1, second[0] = 2;
  const Digest identity = sha256(genesis);
  IdentityEntry entry;
  entry.previous = identity;
  entry.signer = genesis;
  entry.key = second;
  entry.signature.assign(signature_size, 9);
  identities.check(5, identity, entry, false);
  identities.apply(5, identity, entry);
  EXPECT_EQ(identities.find(5)->epoch(), 1u);
  EXPECT_EQ(code_of([&] { identities.check(5, identity, entry, false); }),
            ErrorCode::broken_lineage);
  entry.previous = identities.find(5)->head;
  EXPECT_EQ(code_of([&] { identities.check(5, identity, entry, false); }), ErrorCode::key_retired);
  entry.signer = second;
  EXPECT_EQ(code_of([&] { identities.check(5, identity, entry, false); }), ErrorCode::key_retired);
  entry.step = IdentityStep::key_revoked;
  entry.signature.pop_back();
  EXPECT_EQ(code_of([&] { identities.check(5, identity, entry, true); }), ErrorCode::bad_signature);
  entry.signature.clear();
  EXPECT_EQ(code_of([&] { identities.check(5, identity, entry, false); }),
            ErrorCode::bad_signature);
  identities.check(5, identity, entry, true);
}

TEST(Reputation, counts_fade_by_half_a_half_life_and_never_grow) {
  EXPECT_EQ(decayed(1'000'000, 0, 100), 1'000'000u);
  EXPECT_EQ(decayed(1'000'000, 100, 100), 500'000u);
  EXPECT_EQ(decayed(1'000'000, 1'000, 100), 976u);
  EXPECT_EQ(decayed(1'000'000, 50, 0), 1'000'000u);
  EXPECT_EQ(decayed(UINT64_MAX, UINT64_MAX, 1), 0u);
  uint64_t last = 1'000'000;
  for (uint64_t elapsed = 0; elapsed < 1'000; ++elapsed) {
    const uint64_t now = decayed(1'000'000, elapsed, 100);
    EXPECT_LE(now, last);
    last = now;
  }
}

TEST(Reputation, the_fold_does_not_depend_on_what_else_is_folded) {
  ReputationTable one, both;
  for (uint32_t i = 0; i < 25; ++i) {
    const ReputationTable::Verdict verdict{i, 7, 3, i % 5 != 4, 1, 2, 0, 1'000 + i};
    one.apply_verdict(verdict);
    both.apply_verdict(verdict);
    both.apply_verdict({100 + i, 8, 3, true, 4, 5, 0, 1'000 + i});
  }
  EXPECT_EQ(one.standing(7, 3, 2'000).mean(), 777'777u);
  EXPECT_EQ(both.standing(7, 3, 2'000).mean(), 777'777u);
  EXPECT_TRUE(one.empty());
  EXPECT_EQ(code_of([&] { one.check_rating(99, 99); }), ErrorCode::no_receipt);
  one.apply_rating(0, false, 2'000);
  EXPECT_EQ(code_of([&] { one.check_rating(0, 0); }), ErrorCode::already_rated);
  EXPECT_EQ(one.standing(7, 3, 2'000).accepted, 19u);
  EXPECT_FALSE(one.empty());
}

}  // namespace
}  // namespace hanse
