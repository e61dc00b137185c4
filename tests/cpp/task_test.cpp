#include "task/task.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace hanse {
namespace {

constexpr AgentId requester = make_id(1, 1), worker = make_id(2, 1), judge = make_id(3, 1);

Digest artifact_of(uint32_t number) {
  Digest digest{};
  for (size_t i = 0; i < 4; ++i) digest[i] = uint8_t((number + 1) >> (8 * i));
  return digest;
}

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

class TaskTest : public testing::Test {
 protected:
  uint32_t dispatch(uint64_t deadline_ns = 0, uint8_t tier = 0, const char* task_class = "sum") {
    tasks.check_class(task_class);
    Task task;
    task.requester = requester;
    task.worker = worker;
    task.task_class = tasks.class_find_or_add(task_class);
    task.tier = tier;
    task.deadline_ns = deadline_ns;
    return tasks.apply_dispatch(std::move(task));
  }
  void complete(uint32_t index) { tasks.apply_complete(index, artifact_of(index), {}, 0, 2); }
  // A fresh task, brought into that state.
  uint32_t task_in(TaskState state, uint64_t deadline_ns = 0) {
    const uint32_t index = dispatch(deadline_ns);
    if (state == TaskState::completed || state == TaskState::accepted ||
        state == TaskState::rejected)
      complete(index);
    if (state == TaskState::accepted) tasks.apply_accept(index, judge, 0, 3);
    if (state == TaskState::rejected) tasks.apply_reject(index, judge, 3);
    if (state == TaskState::voided) tasks.apply_void(index, 3);
    if (state == TaskState::expired) tasks.apply_expire(index, 3);
    EXPECT_EQ(tasks.at(index).state, state);
    return index;
  }
  static TaskTable::Escalation escalation(uint8_t tier = 1) {
    return {make_id(9, 1), 1, 2, 3, tier, 20, 77, 5, 0.5f};
  }

  TaskTable tasks;
};

constexpr TaskState states[] = {TaskState::dispatched, TaskState::completed, TaskState::accepted,
                                TaskState::rejected,   TaskState::voided,    TaskState::expired};

struct Verb {
  const char* name;
  std::vector<TaskState> legal;
  void (TaskTable::*check)(uint32_t) const;
};

TEST_F(TaskTest, each_verb_is_legal_in_its_states_and_in_no_other) {
  using enum TaskState;
  const Verb verbs[] = {{"complete", {dispatched}, &TaskTable::check_complete},
                        {"accept", {completed}, &TaskTable::check_accept},
                        {"reject", {completed}, &TaskTable::check_reject},
                        {"escalate", {completed, rejected}, &TaskTable::check_escalate},
                        {"void", {dispatched, completed, rejected}, &TaskTable::check_void}};
  for (const Verb& verb : verbs)
    for (const TaskState state : states) {
      const uint32_t index = task_in(state);
      SCOPED_TRACE(std::string(verb.name) + " from " + task_state_name(state));
      if (std::find(verb.legal.begin(), verb.legal.end(), state) != verb.legal.end()) {
        EXPECT_NO_THROW((tasks.*verb.check)(index));
        continue;
      }
      const Digest before = tasks.state_hash();
      const Error error = error_of([&] { (tasks.*verb.check)(index); });
      const bool settled = state == accepted || state == voided || state == expired;
      EXPECT_EQ(error.code(),
                settled ? ErrorCode::already_resolved : ErrorCode::illegal_transition);
      EXPECT_NE(error.detail().find(verb.name), std::string::npos);
      EXPECT_NE(error.detail().find(task_state_name(state)), std::string::npos);
      EXPECT_EQ(error.id(), tasks.id_at(index));
      EXPECT_EQ(tasks.state_hash(), before);
    }
}

TEST_F(TaskTest, an_illegal_transition_that_was_not_checked_is_caught) {
  for (const TaskState state : states) {
    using enum TaskState;
    const bool settled = state == accepted || state == voided || state == expired;
    const uint32_t index = task_in(state);
    if (state != dispatched) {
      EXPECT_THROW(complete(index), Error);
      EXPECT_THROW(tasks.apply_redeliver(index, 9), Error);
    }
    if (state != completed) {
      EXPECT_THROW(tasks.apply_accept(index, judge, 0, 9), Error);
      EXPECT_THROW(tasks.apply_reject(index, judge, 9), Error);
    }
    if (state != completed && state != rejected) {
      EXPECT_THROW(tasks.apply_escalate(index, escalation(), 9), Error);
    }
    if (settled) {
      EXPECT_THROW(tasks.apply_void(index, 9), Error);
      EXPECT_THROW(tasks.apply_expire(index, 9), Error);
    }
    EXPECT_EQ(tasks.at(index).state, state);
  }
}

TEST_F(TaskTest, an_unknown_task_is_refused) {
  const TaskId known = tasks.id_at(dispatch());
  EXPECT_EQ(tasks.index_checked(known), 0u);
  for (const TaskId bad : {id_none, make_id(1, 1), make_id(0, 2)})
    EXPECT_EQ(error_of([&] { tasks.index_checked(bad); }).code(), ErrorCode::unknown_task);
}

TEST_F(TaskTest, an_artifact_is_accepted_once) {
  const uint32_t first = task_in(TaskState::accepted);
  const uint32_t second = dispatch();
  tasks.apply_complete(second, tasks.at(first).artifact, {}, 0, 4);
  const Error error = error_of([&] { tasks.check_accept(second); });
  EXPECT_EQ(error.code(), ErrorCode::duplicate_artifact);
  EXPECT_EQ(error.id(), tasks.id_at(second));
  EXPECT_THROW(tasks.apply_accept(second, judge, 0, 5), Error);
  tasks.apply_reject(second, judge, 5);
  EXPECT_EQ(tasks.economics().accepted, 1u);

  const uint32_t third = dispatch();
  tasks.apply_complete(third, artifact_of(9'999), {}, 0, 6);
  tasks.apply_reject(third, judge, 7);
  const uint32_t fourth = dispatch();
  tasks.apply_complete(fourth, artifact_of(9'999), {}, 0, 8);
  EXPECT_NO_THROW(tasks.check_accept(fourth)) << "a rejected artifact was not accepted";
}

TEST_F(TaskTest, acceptance_needs_an_artifact) {
  const uint32_t index = dispatch();
  tasks.apply_complete(index, Digest{}, {}, 0, 2);
  EXPECT_EQ(error_of([&] { tasks.check_accept(index); }).code(), ErrorCode::illegal_transition);
  EXPECT_NO_THROW(tasks.check_reject(index));
}

TEST_F(TaskTest, escalation_sends_the_same_task_elsewhere) {
  const uint32_t index = dispatch(100);
  tasks.apply_complete(index, artifact_of(1), {1, 2, 3, 4}, 10, 2);
  tasks.apply_reject(index, judge, 3);
  EXPECT_EQ(tasks.at(index).verifier, judge);
  tasks.apply_escalate(index, escalation(), 4);
  const Task& task = tasks.at(index);
  EXPECT_EQ(task.state, TaskState::dispatched);
  EXPECT_EQ(task.attempt, 2);
  EXPECT_EQ(task.worker, make_id(9, 1));
  EXPECT_EQ(task.verifier, id_none);
  EXPECT_EQ(task.version, 3u);
  EXPECT_EQ(task.tier, 1);
  EXPECT_EQ(task.price, 20u);
  EXPECT_EQ(task.hold, 77u);
  EXPECT_EQ(task.changed_at, 4u);
  EXPECT_EQ(task.artifact, Digest{});
  EXPECT_EQ(task.spent, 10u) << "what was posted stays posted";
  EXPECT_EQ(task.usage.output, 4u);
  tasks.apply_complete(index, artifact_of(2), {1, 1, 1, 1}, 5, 5);
  EXPECT_EQ(tasks.at(index).usage.output, 5u);
  EXPECT_EQ(tasks.at(index).spent, 15u);
  EXPECT_EQ(tasks.earliest_deadline_ns(), 100u) << "the deadline is the task's";
}

TEST_F(TaskTest, redelivery_counts_an_attempt) {
  const uint32_t index = dispatch();
  tasks.apply_redeliver(index, 8);
  EXPECT_EQ(tasks.at(index).attempt, 2);
  EXPECT_EQ(tasks.at(index).state, TaskState::dispatched);
  EXPECT_EQ(tasks.at(index).changed_at, 8u);
}

TEST_F(TaskTest, unfinished_work_is_what_was_dispatched_and_not_completed) {
  for (const TaskState state : states) task_in(state);
  const uint32_t back = task_in(TaskState::rejected);
  tasks.apply_escalate(back, escalation(), 9);
  std::vector<uint32_t> indices{42};
  tasks.unfinished(indices);
  EXPECT_EQ(indices, (std::vector<uint32_t>{0, back}));
}

TEST_F(TaskTest, deadlines_fall_due_in_order_until_the_task_is_settled) {
  std::vector<uint32_t> due;
  EXPECT_EQ(tasks.earliest_deadline_ns(), UINT64_MAX);
  const uint32_t late = dispatch(30), never = dispatch(0), early = dispatch(10);
  const uint32_t rejected = task_in(TaskState::rejected, 10);
  for (const TaskState state : {TaskState::accepted, TaskState::voided, TaskState::expired})
    task_in(state, 5);
  EXPECT_EQ(tasks.earliest_deadline_ns(), 10u);
  tasks.due(9, 10, due);
  EXPECT_TRUE(due.empty()) << "never early";
  tasks.due(30, 10, due);
  EXPECT_EQ(due, (std::vector<uint32_t>{early, rejected, late}));
  tasks.due(30, 1, due);
  EXPECT_EQ(due, std::vector<uint32_t>{early});
  for (const uint32_t index : {early, rejected, late}) tasks.apply_expire(index, 9);
  EXPECT_EQ(tasks.earliest_deadline_ns(), UINT64_MAX);
  EXPECT_EQ(tasks.at(never).state, TaskState::dispatched);
  EXPECT_EQ(tasks.economics().expired, 4u);
}

TEST_F(TaskTest, a_key_belongs_to_its_requester) {
  const std::vector<uint8_t> key{'a', 0, 'b'}, other{'a', 0, 'c'};
  EXPECT_EQ(tasks.keyed(1, key), nullptr);
  tasks.apply_key(1, key, {artifact_of(1), 7, make_id(0, 1), Outcome::ok});
  const KeyedResult* found = tasks.keyed(1, key);
  ASSERT_NE(found, nullptr);
  for (uint32_t i = 0; i < 5000; ++i) {
    const std::vector<uint8_t> more{uint8_t(i), uint8_t(i >> 8), 1, 2};
    tasks.apply_key(i % 3, more, {artifact_of(i), i, id_none, Outcome::denied});
    ASSERT_EQ(tasks.keyed(i % 3, more)->position, i);
    ASSERT_EQ(tasks.keyed((i + 1) % 3, more), nullptr);
  }
  EXPECT_EQ(tasks.keyed(1, key), found) << "a result stays where it is";
  EXPECT_EQ(found->position, 7u);
  EXPECT_EQ(found->body, artifact_of(1));
  EXPECT_EQ(tasks.keyed(2, key), nullptr);
  EXPECT_EQ(tasks.keyed(1, other), nullptr);
  EXPECT_THROW(tasks.apply_key(1, key, {}), Error) << "a key is used up once";
}

TEST_F(TaskTest, classes_are_named_once_and_bounded) {
  EXPECT_EQ(tasks.class_find("sum"), task_class_none);
  const uint16_t sum = tasks.class_find_or_add("sum");
  EXPECT_EQ(tasks.class_find_or_add("sum"), sum);
  EXPECT_NE(tasks.class_find_or_add(""), sum);
  EXPECT_EQ(tasks.class_name(sum), "sum");
  EXPECT_EQ(tasks.class_count(), 2u);
  EXPECT_NO_THROW(tasks.check_class(std::string(64, 'x')));
  EXPECT_EQ(error_of([&] { tasks.check_class(std::string(65, 'x')); }).code(),
            ErrorCode::too_large);
  for (uint32_t i = tasks.class_count(); i < task_class_count_max; ++i)
    tasks.class_find_or_add(std::to_string(i));
  EXPECT_EQ(error_of([&] { tasks.check_class("one too many"); }).code(), ErrorCode::quota_exceeded);
  EXPECT_NO_THROW(tasks.check_class("sum"));
}

TEST_F(TaskTest, economics_count_for_the_class_and_the_tier_that_caused_them) {
  const uint32_t index = dispatch(0, 0, "sum");
  tasks.apply_complete(index, artifact_of(1), {10, 0, 0, 1}, 3, 2);
  tasks.apply_escalate(index, escalation(1), 3);
  tasks.apply_complete(index, artifact_of(2), {0, 20, 0, 2}, 40, 4);
  tasks.apply_accept(index, judge, 7, 5);
  tasks.apply_void(dispatch(0, 0, "other"), 6);

  const Economics& small = tasks.economics_of_tier(0);
  const Economics& large = tasks.economics_of_tier(1);
  EXPECT_EQ(small.dispatched, 2u);
  EXPECT_EQ(small.completed, 1u);
  EXPECT_EQ(small.escalated, 1u);
  EXPECT_EQ(small.accepted, 0u);
  EXPECT_EQ(small.voided, 1u);
  EXPECT_TRUE(small.spend == 3);
  EXPECT_EQ(small.usage.fresh, 10u);
  EXPECT_EQ(small.usage.cache_read, 0u);
  EXPECT_EQ(large.dispatched, 1u);
  EXPECT_EQ(large.accepted, 1u);
  EXPECT_TRUE(large.spend == 47);
  EXPECT_EQ(large.usage.cache_read, 20u);
  const Economics& all = tasks.economics();
  EXPECT_EQ(all.dispatched, 2u);
  EXPECT_EQ(all.completed, 2u);
  EXPECT_TRUE(all.spend == 50);
  EXPECT_EQ(all.usage.output, 3u);
  EXPECT_TRUE(tasks.economics_of_class(tasks.class_find("sum")).spend == 50);
  EXPECT_TRUE(tasks.economics_of_class(tasks.class_find("other")).spend == 0);
  EXPECT_EQ(tasks.economics_of_class(tasks.class_find("other")).voided, 1u);
}

TEST_F(TaskTest, usage_saturates_and_never_wraps) {
  constexpr uint64_t most = UINT64_MAX;
  for (int i = 0; i < 2; ++i) {
    const uint32_t index = dispatch();
    tasks.apply_complete(index, artifact_of(index), {most, most - 1, 1, 0}, 0, 2);
  }
  EXPECT_EQ(tasks.economics().usage.fresh, most);
  EXPECT_EQ(tasks.economics().usage.cache_read, most);
  EXPECT_EQ(tasks.economics().usage.cache_write, 2u);
}

TEST_F(TaskTest, the_state_hash_depends_on_tasks_payloads_keys_and_economics) {
  std::vector<Digest> hashes{tasks.state_hash()};
  const auto expect_new = [&](const char* what) {
    const Digest hash = tasks.state_hash();
    for (const Digest& other : hashes) EXPECT_NE(hash, other) << what;
    hashes.push_back(hash);
    EXPECT_EQ(tasks.state_hash(), hash);
  };
  const auto hash_with = [](auto&& change) {
    TaskTable table;
    Task task;
    task.task_class = table.class_find_or_add("sum");
    change(task);
    table.apply_dispatch(std::move(task));
    return table.state_hash();
  };
  const Digest plain = hash_with([](Task&) {});
  EXPECT_EQ(hash_with([](Task&) {}), plain);
  EXPECT_NE(hash_with([](Task& task) { task.payload = {1}; }), plain);
  EXPECT_NE(hash_with([](Task& task) { task.payload_extent = artifact_of(1); }), plain);
  EXPECT_NE(hash_with([](Task& task) { task.latents.resize(1); }), plain);
  EXPECT_NE(hash_with([](Task& task) { task.score = 1; }), plain);
  EXPECT_NE(hash_with([](Task& task) { task.verifier_required = true; }), plain);
  EXPECT_NE(hash_with([](Task& task) { task.budget = 1; }), plain);

  const uint32_t index = dispatch();
  expect_new("dispatch");
  complete(index);
  expect_new("complete");
  tasks.apply_reject(index, judge, 3);
  expect_new("reject");
  tasks.apply_key(1, artifact_of(1), {});
  expect_new("key");
  tasks.class_find_or_add("other");
  expect_new("class");
}

TEST_F(TaskTest, a_task_is_small) {
  EXPECT_LE(sizeof(Task), 320u);
  for (int i = 0; i < 10'000; ++i) dispatch(100);
  EXPECT_LT(tasks.memory_bytes(), 10'000u * 450 + sizeof(TaskTable) + 4096);
}

}  // namespace
}  // namespace hanse
