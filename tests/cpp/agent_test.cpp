#include "agent/agent.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace hanse {
namespace {

template <class F>
Error error_of(F&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::invariant, "", "");
}

AgentsAdded agents(AgentId parent, uint32_t count = 1, AgentKind kind = AgentKind::agent) {
  AgentsAdded added;
  added.parent = parent;
  added.count = count;
  added.kind = kind;
  return added;
}

AgentsAdded named(AgentId parent, std::vector<std::string> names,
                  AgentKind kind = AgentKind::agent) {
  AgentsAdded added = agents(parent, uint32_t(names.size()), kind);
  added.names = std::move(names);
  return added;
}

AgentId add(AgentTable& table, const AgentsAdded& added) {
  table.check_add(added);
  return table.id_at(table.apply_add(added));
}

TEST(Agent, the_root_is_a_group_with_every_permission) {
  const AgentTable table;
  const AgentInfo root = table.info(0);
  EXPECT_EQ(root.id, uint64_t(1) << 32);
  EXPECT_EQ(root.parent, id_none);
  EXPECT_EQ(root.tenant, root.id);
  EXPECT_EQ(root.kind, AgentKind::group);
  EXPECT_EQ(root.name, "root");
  EXPECT_EQ(root.depth, 0u);
  EXPECT_EQ(root.permissions, permissions_all);
  EXPECT_EQ(root.budget_max, budget_unlimited);
  EXPECT_TRUE(root.live);
  EXPECT_FALSE(root.identity.has_value());
}

TEST(Agent, ids_that_were_never_given_are_unknown) {
  AgentTable table;
  const AgentId id = add(table, agents(table.root()));
  EXPECT_EQ(table.index_checked(id), 1u);
  for (const AgentId bad : {id_none, make_id(0, 2), make_id(2, 1), make_id(1, 2), make_id(1, 0)}) {
    EXPECT_FALSE(table.contains(bad));
    const Error error = error_of([&] { table.index_checked(bad); });
    EXPECT_EQ(error.code(), ErrorCode::unknown_agent);
    EXPECT_EQ(error.id(), bad);
    EXPECT_EQ(error_of([&] { table.check_add(agents(bad)); }).code(), ErrorCode::unknown_agent);
  }
}

TEST(Agent, the_tenant_is_the_group_below_the_root) {
  AgentTable table;
  const AgentId group = add(table, agents(table.root(), 1, AgentKind::group));
  const AgentId inner = add(table, agents(group, 1, AgentKind::group));
  const AgentId worker = add(table, agents(inner));
  const AgentId loose = add(table, agents(table.root(), 1, AgentKind::human));
  const AgentId below = add(table, agents(loose, 1, AgentKind::group));
  EXPECT_EQ(table.tenant(index_of(group)), index_of(group));
  EXPECT_EQ(table.tenant(index_of(inner)), index_of(group));
  EXPECT_EQ(table.tenant(index_of(worker)), index_of(group));
  EXPECT_EQ(table.tenant(index_of(loose)), 0u);
  EXPECT_EQ(table.tenant(index_of(below)), 0u);

  const uint32_t first = index_of(add(table, agents(table.root(), 3, AgentKind::group)));
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(table.tenant(first + i), first + i);
}

TEST(Agent, a_chain_of_sixteen_is_deep_enough_and_seventeen_is_refused) {
  AgentTable table;
  AgentId last = table.root();
  for (uint32_t depth = 1; depth <= delegation_depth_max; ++depth) {
    last = add(table, agents(last));
    EXPECT_EQ(table.depth(index_of(last)), depth);
  }
  const uint32_t count = table.count();
  EXPECT_EQ(error_of([&] { table.check_add(agents(last)); }).code(), ErrorCode::delegation_depth);
  EXPECT_EQ(table.count(), count);
  EXPECT_TRUE(table.within(index_of(last), 0));
  EXPECT_TRUE(table.within(index_of(last), index_of(last)));
  EXPECT_TRUE(table.within(index_of(last), 1));
  EXPECT_FALSE(table.within(1, index_of(last)));
  EXPECT_FALSE(table.within(0, 1));
}

TEST(Agent, a_delegation_only_narrows) {
  AgentTable table;
  AgentsAdded added = agents(table.root());
  added.permissions = 0b1011;
  added.budget_max = 500;
  const AgentId parent = add(table, added);

  const AgentId same = add(table, agents(parent));
  EXPECT_EQ(table.permissions(index_of(same)), 0b1011u);
  EXPECT_EQ(table.budget_max(index_of(same)), 500u);

  AgentsAdded narrower = agents(parent);
  narrower.permissions = 0b0011;
  narrower.budget_max = 500;
  EXPECT_EQ(table.permissions(index_of(add(table, narrower))), 0b0011u);
  narrower.permissions = 0;
  narrower.budget_max = 0;
  EXPECT_EQ(table.budget_max(index_of(add(table, narrower))), 0u);

  AgentsAdded wider = agents(parent);
  wider.permissions = 0b0111;
  Error error = error_of([&] { table.check_add(wider); });
  EXPECT_EQ(error.code(), ErrorCode::attenuation_violation);
  EXPECT_EQ(error.field(), "permissions");
  wider.permissions = permissions_all;
  wider.budget_max = 501;
  error = error_of([&] { table.check_add(wider); });
  EXPECT_EQ(error.code(), ErrorCode::attenuation_violation);
  EXPECT_EQ(error.field(), "budget_max");
  EXPECT_NE(error.detail().find("501"), std::string::npos);
  EXPECT_NE(error.detail().find("500"), std::string::npos);
}

TEST(Agent, revoking_an_ancestor_is_seen_by_all_descendants_and_by_no_one_else) {
  AgentTable table;
  std::vector<AgentId> chain{table.root()};
  for (uint32_t i = 0; i < delegation_depth_max; ++i)
    chain.push_back(add(table, agents(chain.back())));
  const AgentId sibling = add(table, agents(chain[4]));
  for (const AgentId id : chain) EXPECT_TRUE(table.live(index_of(id)));

  const uint64_t epoch = table.epoch();
  table.apply_revoke(index_of(chain[5]));
  EXPECT_EQ(table.epoch(), epoch + 1);
  // Twice: the second answer comes from the cache.
  for (int round = 0; round < 2; ++round)
    for (size_t i = 0; i < chain.size(); ++i) {
      EXPECT_EQ(table.live(index_of(chain[i])), i < 5) << i;
      EXPECT_EQ(table.revoked_ancestor(index_of(chain[i])),
                i < 5 ? index_none : index_of(chain[5]));
    }
  EXPECT_TRUE(table.live(index_of(sibling)));
  EXPECT_EQ(error_of([&] { table.check_add(agents(chain[16])); }).code(), ErrorCode::revoked);

  table.apply_revoke(index_of(chain[5]));
  EXPECT_EQ(table.epoch(), epoch + 1) << "revoking again changes nothing";
  table.apply_revoke(index_of(chain[7]));
  EXPECT_EQ(table.revoked_ancestor(index_of(chain[8])), index_of(chain[7])) << "the nearest";
}

TEST(Agent, an_agent_added_after_a_revocation_is_live) {
  AgentTable table;
  const AgentId gone = add(table, agents(table.root()));
  table.apply_revoke(index_of(gone));
  EXPECT_TRUE(table.live(index_of(add(table, agents(table.root())))));
}

TEST(Agent, liveness_agrees_with_a_walk_over_random_trees) {
  AgentTable table;
  Random random(7);
  std::vector<uint8_t> revoked(1, 0);
  for (int step = 0; step < 4000; ++step) {
    const auto parent = uint32_t(random.below(table.count()));
    AgentsAdded added = agents(table.id_at(parent), 1 + uint32_t(random.below(3)));
    if (table.live(parent) && table.depth(parent) < delegation_depth_max) {
      add(table, added);
      revoked.resize(table.count(), 0);
    }
    if (random.chance(30)) {
      const auto index = uint32_t(1 + random.below(table.count() - 1));
      table.apply_revoke(index);
      revoked[index] = 1;
    }
    const auto probe = uint32_t(random.below(table.count()));
    bool live = true;
    for (uint32_t at = probe; at != index_none; at = table.parent(at)) live &= revoked[at] == 0;
    ASSERT_EQ(table.live(probe), live) << probe;
  }
}

TEST(Agent, a_name_is_unique_among_the_children_of_one_parent) {
  AgentTable table;
  const AgentId group = add(table, agents(table.root(), 1, AgentKind::group));
  add(table, named(table.root(), {"ada", "", "bob"}));
  add(table, named(group, {"ada"}));
  EXPECT_EQ(table.find("ada"), 2u);
  EXPECT_EQ(table.find("ada", 0), 2u);
  EXPECT_EQ(table.find("ada", index_of(group)), 5u);
  EXPECT_EQ(table.find("bob", index_of(group)), index_none);
  EXPECT_EQ(table.find(""), index_none);
  EXPECT_EQ(table.find("root"), 0u);
  EXPECT_EQ(table.name(3), "");
  EXPECT_EQ(table.name(4), "bob");
  EXPECT_EQ(table.info(5).name, "ada");

  EXPECT_EQ(error_of([&] { table.check_add(named(group, {"eve", "ada"})); }).code(),
            ErrorCode::name_taken);
  EXPECT_EQ(error_of([&] { table.check_add(named(group, {"eve", "eve"})); }).code(),
            ErrorCode::name_taken);
  EXPECT_NO_THROW(table.check_add(named(group, {"", "", "eve"}))) << "unnamed ones don't collide";
  table.apply_revoke(5);
  EXPECT_EQ(error_of([&] { table.check_add(named(group, {"ada"})); }).code(), ErrorCode::name_taken)
      << "the name of a revoked agent stays taken";
}

TEST(Agent, counts_and_sizes_out_of_range_are_refused) {
  AgentTable table;
  const auto refused = [&](const AgentsAdded& added, const char* field) {
    const Error error = error_of([&] { table.check_add(added); });
    EXPECT_EQ(error.code(), ErrorCode::out_of_range);
    EXPECT_EQ(error.field(), field);
  };
  refused(agents(table.root(), 0), "count");
  refused(agents(table.root(), agents_per_add_max + 1), "count");
  EXPECT_NO_THROW(table.check_add(agents(table.root(), agents_per_add_max)));
  refused(agents(table.root(), 1, AgentKind(4)), "kind");
  refused(named(table.root(), {std::string(257, 'x')}), "name");
  EXPECT_NO_THROW(table.check_add(named(table.root(), {std::string(256, 'x')})));
  AgentsAdded added = named(table.root(), {"a", "b"});
  added.count = 3;
  refused(added, "names");
  added = agents(table.root(), 2);
  added.identities.resize(1);
  refused(added, "identities");
  EXPECT_EQ(table.count(), 1u);
}

TEST(Agent, a_million_unnamed_and_twenty_thousand_named_agents_join_at_once) {
  AgentTable table;
  EXPECT_EQ(add(table, agents(table.root(), 1'000'000)), make_id(1, 1));
  EXPECT_EQ(table.count(), 1'000'001u);
  std::vector<std::string> names;
  for (int i = 0; i < 20'000; ++i) names.push_back("module.function_" + std::to_string(i));
  const uint32_t first = index_of(add(table, named(table.root(), names)));
  for (uint32_t i = 0; i < names.size(); ++i) ASSERT_EQ(table.find(names[i]), first + i);
  EXPECT_EQ(table.name(first - 1), "");
  EXPECT_LT(table.memory_bytes(), 120u << 20);
}

TEST(Agent, the_identity_is_kept_for_those_that_have_one) {
  AgentTable table;
  add(table, agents(table.root(), 2));
  AgentsAdded added = agents(table.root(), 2);
  added.identities = {Digest{1}, Digest{2}};
  const uint32_t first = index_of(add(table, added));
  EXPECT_EQ(table.info(first).identity, Digest{1});
  EXPECT_EQ(table.info(first + 1).identity, Digest{2});
  EXPECT_FALSE(table.info(1).identity.has_value());
}

TEST(Agent, the_state_hash_depends_on_every_field_and_on_nothing_else) {
  const auto base = [] { return named(make_id(0, 1), {"ada", "bob"}); };
  const auto hash_of = [](const AgentsAdded& added) {
    AgentTable table;
    add(table, added);
    return table.state_hash();
  };
  const Digest plain = hash_of(base());
  EXPECT_EQ(hash_of(base()), plain);
  AgentsAdded changed = base();
  changed.kind = AgentKind::tool;
  EXPECT_NE(hash_of(changed), plain);
  changed = base();
  changed.permissions = 1;
  EXPECT_NE(hash_of(changed), plain);
  changed = base();
  changed.budget_max = 1;
  EXPECT_NE(hash_of(changed), plain);
  changed = base();
  changed.names[1] = "eve";
  EXPECT_NE(hash_of(changed), plain);
  changed = base();
  changed.identities = {Digest{1}, Digest{2}};
  EXPECT_NE(hash_of(changed), plain);

  AgentTable revoked;
  add(revoked, base());
  EXPECT_EQ(revoked.state_hash(), plain);
  revoked.live(1);
  EXPECT_EQ(revoked.state_hash(), plain) << "caches are not state";
  revoked.apply_revoke(1);
  EXPECT_NE(revoked.state_hash(), plain);

  AgentTable one_by_one;
  add(one_by_one, named(make_id(0, 1), {"ada"}));
  one_by_one.state_hash();
  add(one_by_one, named(make_id(0, 1), {"bob"}));
  EXPECT_EQ(one_by_one.state_hash(), plain) << "how agents were batched is not state";
}

}  // namespace
}  // namespace hanse
