#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "mailbox/batch_columns.hpp"
#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

MailboxOptions options_of(MailboxForm form, uint32_t capacity = 1024) {
  MailboxOptions options;
  options.form = form;
  options.box_capacity_messages = capacity;
  return options;
}

struct Rows {
  std::vector<AgentId> to;
  std::vector<uint8_t> payloads;
  std::vector<uint32_t> sizes;
  size_t width = 8;

  MatrixView<const uint8_t> view() const { return {payloads.data(), to.size(), width}; }
};

// Row i carries first + i in its first 8 bytes.
Rows rows_to(const std::vector<AgentId>& to, size_t width, uint64_t first = 0) {
  Rows rows{to, std::vector<uint8_t>(to.size() * width), {}, width};
  for (size_t i = 0; i < to.size(); ++i) {
    const uint64_t number = first + i;
    std::memcpy(&rows.payloads[i * width], &number, sizeof number);
  }
  return rows;
}

std::vector<Outcome> send_rows(MailboxTable& table, AgentId sender, const Rows& rows) {
  std::vector<Outcome> outcomes(rows.to.size());
  table.send_many(sender, rows.to, rows.view(), rows.sizes, outcomes);
  return outcomes;
}

std::vector<AgentId> random_agents(Random& random, uint32_t population, size_t count) {
  std::vector<AgentId> agents(count);
  for (AgentId& id : agents) id = agent(uint32_t(random.below(population)));
  return agents;
}

TEST(MailboxBulk, a_log_gives_what_was_sent_by_receiver_in_order_and_as_columns) {
  constexpr uint32_t population = 40'000;  // Three buckets.
  MailboxTable table(options_of(MailboxForm::log));
  table.own();
  table.resize(population);
  Random random(1);
  const Rows rows = rows_to(random_agents(random, population, 100'000), 64);
  for (const Outcome outcome : send_rows(table, agent(3), rows)) ASSERT_EQ(outcome, Outcome::ok);
  EXPECT_EQ(table.counters().form, MailboxForm::log);
  EXPECT_EQ(table.counters().queued, 100'000u);

  std::vector<int64_t> last(population, -1);
  std::vector<uint64_t> next_sequence(population);
  std::set<AgentId> finished;
  AgentId at = id_none;
  MessageBatch batch;
  uint64_t count = 0;
  while (table.drain(batch, 3'000, 0) != 0) {
    const MessageColumns* columns = batch.columns();
    ASSERT_TRUE(columns);
    EXPECT_EQ(columns->senders, nullptr);
    EXPECT_EQ(columns->sender, agent(3));
    EXPECT_EQ(columns->size, 64u);
    for (size_t i = 0; i < columns->count; ++i) {
      uint64_t number = 0;
      std::memcpy(&number, columns->rows + i * 64, sizeof number);
      const AgentId to = columns->to[i];
      ASSERT_EQ(rows.to[number], to);
      ASSERT_GT(int64_t(number), last[index_of(to)]);
      last[index_of(to)] = int64_t(number);
      ASSERT_EQ(columns->sequences[i], next_sequence[index_of(to)]++);
      // All of one receiver come together.
      if (to != at) {
        ASSERT_TRUE(finished.insert(at).second);
      }
      at = to;
    }
    count += columns->count;
    const Message& message = batch.messages()[0];
    EXPECT_EQ(message.to, columns->to[0]);
    EXPECT_EQ(message.payload.data(), columns->rows);
    batch.clear();
  }
  EXPECT_EQ(count, 100'000u);
  EXPECT_EQ(table.counters().epochs, 3u);
  EXPECT_EQ(table.counters().handled, 100'000u);
  expect_conserved(table);
}

TEST(MailboxBulk, rows_that_differ_in_sender_size_and_deadline_keep_what_is_theirs) {
  MailboxTable table(options_of(MailboxForm::log));
  table.own();
  table.resize(10);
  for (uint32_t call = 0; call < 6; ++call) {
    Rows rows = rows_to({agent(1), agent(2), agent(1)}, 16, call * 3);
    if (call % 2) rows.sizes = {8, 16, 12};
    MessageHeader header;
    header.sender = agent(call);
    header.deadline_ns = call == 3 ? 100 : call == 4 ? 200 : 0;
    std::vector<Outcome> outcomes(3, Outcome::ok);
    table.send_many(header, rows.to, rows.view(), rows.sizes, outcomes);
  }
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 100), 15u);
  EXPECT_EQ(table.counters().expired, 3u);
  std::map<AgentId, uint64_t> next;
  for (const Message& message : batch.messages()) {
    const uint64_t number = number_in(message), call = number / 3, row = number % 3;
    EXPECT_NE(call, 3u);
    EXPECT_EQ(message.sender, agent(uint32_t(call)));
    EXPECT_EQ(message.rare->deadline_ns, call == 4 ? 200u : 0u);
    const size_t sizes[] = {8, 16, 12};
    EXPECT_EQ(message.payload.size(), call % 2 ? sizes[row] : 16u);
    EXPECT_EQ(message.to, agent(row == 1 ? 2 : 1));
  }
  // Zero behind each payload, though chunks are used again.
  const MessageColumns& columns = *batch.columns();
  for (size_t i = 0; i < columns.count; ++i)
    for (size_t byte = columns.sizes[i]; byte < 64; ++byte)
      ASSERT_EQ(columns.rows[i * 64 + byte], 0);
  expect_conserved(table);
}

TEST(MailboxBulk, a_full_receiver_is_refused_and_its_block_is_not) {
  for (const uint32_t capacity : {1u, 5u, 100u}) {
    MailboxTable table(options_of(MailboxForm::log, capacity));
    table.own();
    table.resize(64);
    // One receiver's fill, then its neighbours': the block as a whole is far above the capacity.
    std::vector<AgentId> to(capacity + 2, agent(7));
    for (uint32_t i = 0; i < 64; ++i) to.insert(to.end(), capacity, agent(i));
    const std::vector<Outcome> outcomes = send_rows(table, agent(0), rows_to(to, 8));
    std::vector<uint32_t> accepted(64);
    for (size_t i = 0; i < to.size(); ++i) {
      const bool room = accepted[index_of(to[i])] < capacity;
      ASSERT_EQ(outcomes[i], room ? Outcome::ok : Outcome::full) << i;
      accepted[index_of(to[i])] += outcomes[i] == Outcome::ok;
    }
    EXPECT_EQ(table.queued(agent(7)), capacity);
    MessageBatch batch;
    EXPECT_EQ(table.drain(batch, SIZE_MAX, 0), 64u * capacity);
    EXPECT_EQ(table.counters().refused_full, capacity + 2u);
    expect_conserved(table);
  }
}

TEST(MailboxBulk, the_table_as_a_whole_is_bounded_in_the_log_too) {
  MailboxOptions options = options_of(MailboxForm::log);
  options.message_count_max = 100;
  MailboxTable table(options);
  table.own();
  table.resize(1000);
  Random random(4);
  const std::vector<Outcome> outcomes =
      send_rows(table, agent(0), rows_to(random_agents(random, 1000, 150), 8));
  for (size_t i = 0; i < 150; ++i) EXPECT_EQ(outcomes[i], i < 100 ? Outcome::ok : Outcome::full);
  EXPECT_EQ(table.send(header(agent(0), agent(1)), {}), Outcome::full);
}

TEST(MailboxBulk, what_the_log_cannot_hold_spills_it_and_stays_behind_it) {
  MailboxTable table(options_of(MailboxForm::log));
  table.own();
  table.resize(100);
  send_rows(table, agent(0), rows_to({agent(1), agent(2), agent(1)}, 8));
  // A single message of the kind that the log holds follows its receiver's rows there.
  EXPECT_EQ(table.send(header(agent(0), agent(1)), bytes_of(uint64_t(3))), Outcome::ok);
  EXPECT_EQ(table.counters().spills, 0u);
  EXPECT_EQ(table.queued(agent(1)), 3u);
  // A request to another agent does not touch them; one to the same agent does.
  EXPECT_EQ(table.send(header(agent(0), agent(9), MessageKind::request), {}), Outcome::ok);
  EXPECT_EQ(table.counters().spills, 0u);
  EXPECT_EQ(table.send(header(agent(0), agent(1), MessageKind::request), bytes_of(uint64_t(4))),
            Outcome::ok);
  EXPECT_EQ(table.counters().spills, 1u);
  EXPECT_EQ(table.queued(agent(1)), 4u);
  MessageBatch batch;
  for (const uint64_t expected : {0, 2, 3, 4}) {
    batch.clear();
    ASSERT_TRUE(table.receive(agent(1), batch, 0));
    EXPECT_EQ(number_in(batch.messages()[0]), expected);
  }
  EXPECT_EQ(table.queued(agent(2)), 1u);
  expect_conserved(table);
}

TEST(MailboxBulk, paused_and_closed_boxes_are_respected_while_the_log_is_in_use) {
  MailboxTable table(options_of(MailboxForm::log));
  table.own();
  table.resize(100);
  const Rows rows = rows_to({agent(1), agent(2), agent(3), agent(1)}, 8);
  send_rows(table, agent(0), rows);
  table.set_paused(agent(1), true);
  table.close_box(agent(2), Outcome::revoked);
  EXPECT_EQ(table.counters().dead, 1u);
  EXPECT_EQ(send_rows(table, agent(0), rows),
            (std::vector<Outcome>{Outcome::ok, Outcome::revoked, Outcome::ok, Outcome::ok}));
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 0), 2u);
  EXPECT_EQ(batch.messages()[0].to, agent(3));
  EXPECT_EQ(batch.messages()[1].to, agent(3));
  EXPECT_EQ(batch.messages()[1].sequence, 1u);
  table.set_paused(agent(1), false);
  batch.clear();
  ASSERT_EQ(table.drain(batch, 100, 0), 4u);
  for (uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(number_in(batch.messages()[i]), i % 2 ? 3u : 0u);
    EXPECT_EQ(batch.messages()[i].sequence, i);
  }
  expect_conserved(table);
}

TEST(MailboxBulk, views_of_a_batch_outlive_the_next_drain_and_the_table) {
  auto table = std::make_unique<MailboxTable>(options_of(MailboxForm::log));
  table->own();
  table->resize(10);
  MessageBatch first, second;
  send_rows(*table, agent(0), rows_to({agent(1)}, 8, 11));
  table->drain(first, 10, 0);
  send_rows(*table, agent(0), rows_to({agent(1)}, 8, 22));
  table->drain(second, 10, 0);
  table.reset();
  EXPECT_EQ(number_in(first.messages()[0]), 11u);
  EXPECT_EQ(number_in(second.messages()[0]), 22u);
}

TEST(MailboxBulk, a_drain_adds_to_a_batch_that_holds_messages_of_either_form) {
  MailboxTable table(options_of(MailboxForm::log));
  table.own();
  table.resize(10);
  MessageBatch batch;
  send_rows(table, agent(0), rows_to({agent(1), agent(2)}, 8, 0));
  ASSERT_EQ(table.drain(batch, 10, 0), 2u);
  table.send(header(agent(0), agent(5)), bytes_of(uint64_t(2)));
  send_rows(table, agent(0), rows_to({agent(3)}, 8, 3));
  ASSERT_EQ(table.drain(batch, 10, 0), 2u);
  EXPECT_EQ(batch.columns(), nullptr);
  ASSERT_EQ(batch.count(), 4u);
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(number_in(batch.messages()[i]), i);
  size_t stride = 0;
  const uint8_t* bytes = batch.rows(stride);
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(bytes[i * stride], i);
}

TEST(MailboxBulk, the_form_follows_the_traffic_and_does_not_flutter) {
  MailboxOptions options;
  options.log_batch_min = 1000;
  MailboxTable table(options);
  table.own();
  table.resize(5000);
  Random random(9);
  MessageBatch batch;
  const auto bulk = [&](size_t count) {
    send_rows(table, agent(0), rows_to(random_agents(random, 5000, count), 64));
    batch.clear();
    table.drain(batch, SIZE_MAX, 0);
  };
  bulk(999);
  EXPECT_EQ(table.counters().form, MailboxForm::linked);
  bulk(1000);
  EXPECT_EQ(table.counters().form, MailboxForm::log);
  for (int i = 0; i < 100; ++i) bulk(1000);
  for (int i = 0; i < 10; ++i) bulk(100);
  EXPECT_EQ(table.counters().form, MailboxForm::log);
  for (int i = 0; i < 200; ++i) bulk(100);
  EXPECT_EQ(table.counters().form, MailboxForm::linked);
  EXPECT_EQ(table.counters().switches, 2u);
  EXPECT_EQ(table.counters().spills, 0u);
  bulk(2000);
  EXPECT_EQ(table.counters().form, MailboxForm::log);
  for (int i = 0; i < 501; ++i) table.send(header(agent(0), agent(1)), {});
  EXPECT_EQ(table.counters().form, MailboxForm::linked);
  expect_conserved(table);
}

// What can be seen of a table, whatever its form.
struct Seen {
  std::map<std::tuple<AgentId, AgentId>, std::vector<uint64_t>> order;  // (sender, receiver)
  std::map<AgentId, std::vector<uint64_t>> sequences;
  std::vector<Outcome> outcomes;
  std::vector<uint32_t> queued;
  uint64_t accepted, handled, expired, dead, waiting, refused_full, refused_unknown, refused_other;

  void see(const MessageBatch& batch) {
    for (const Message& message : batch.messages()) {
      order[{message.sender, message.to}].push_back(number_in(message));
      sequences[message.to].push_back(message.sequence);
    }
  }
  bool operator==(const Seen&) const = default;
};

// The same random programme; drains are whole, so that both forms hold the same afterwards.
Seen run_program(MailboxForm form, uint64_t seed) {
  constexpr uint32_t population = 20'000;
  Random random(seed);
  const auto near = uint32_t(2 + random.below(40));  // Few receivers, so that boxes get full.
  MailboxOptions options = options_of(form, uint32_t(1 + random.below(60)));
  options.message_count_max = 2000;
  MailboxTable table(options);
  table.own();
  table.resize(population);
  Seen seen{};
  MessageBatch batch;
  uint64_t number = 0, now = 1;
  const auto any = [&] {
    return agent(uint32_t(random.below(random.chance(700) ? near : population)));
  };
  for (int step = 0; step < 120; ++step) {
    const uint64_t what = random.below(100);
    if (what < 45) {
      std::vector<AgentId> to(random.below(80));
      for (AgentId& id : to) id = random.chance(20) ? agent(population) : any();
      const size_t width = 8 + random.below(57);
      Rows rows = rows_to(to, width, number);
      number += to.size();
      if (random.chance(300))
        for (size_t i = 0; i < to.size(); ++i)
          rows.sizes.push_back(uint32_t(8 + random.below(width - 7)));
      MessageHeader header;
      header.sender = agent(uint32_t(random.below(5)));
      if (random.chance(300)) header.deadline_ns = now + random.below(6);
      std::vector<Outcome> outcomes(to.size(), Outcome::ok);
      table.send_many(header, rows.to, rows.view(), rows.sizes, outcomes);
      seen.outcomes.insert(seen.outcomes.end(), outcomes.begin(), outcomes.end());
    } else if (what < 65) {
      MessageHeader sent = header(agent(uint32_t(random.below(5))), any());
      if (random.chance(150)) sent.kind = MessageKind::request;
      if (random.chance(100)) sent.deadline_ns = now + random.below(6);
      std::vector<uint8_t> payload(random.chance(100) ? 100 : 8);
      std::memcpy(payload.data(), &number, sizeof number);
      ++number;
      seen.outcomes.push_back(table.send(sent, bytes_of(payload)));
    } else if (what < 80) {
      batch.clear();
      table.drain(batch, SIZE_MAX, now += random.below(4));
      seen.see(batch);
    } else if (what < 88) {
      batch.clear();
      table.receive(any(), batch, now);
      seen.see(batch);
    } else if (what < 96) {
      table.set_paused(any(), random.chance(500));
    } else if (what < 97) {
      table.close_box(any(), Outcome::closed);
    } else {
      seen.queued.push_back(table.queued(any()));
    }
    expect_conserved(table);
  }
  for (uint32_t i = 0; i < population; ++i) table.set_paused(agent(i), false);
  batch.clear();
  table.drain(batch, SIZE_MAX, now);
  seen.see(batch);
  const MailboxCounters c = table.counters();
  seen.accepted = c.accepted, seen.handled = c.handled, seen.expired = c.expired;
  seen.dead = c.dead, seen.waiting = c.queued, seen.refused_full = c.refused_full;
  seen.refused_unknown = c.refused_unknown, seen.refused_other = c.refused_other;
  return seen;
}

TEST(MailboxBulk, both_forms_show_the_same_of_the_same_programme) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const Seen linked = run_program(MailboxForm::linked, seed);
    const Seen logged = run_program(MailboxForm::log, seed);
    ASSERT_EQ(linked.outcomes, logged.outcomes) << seed;
    ASSERT_EQ(linked.order, logged.order) << seed;
    ASSERT_EQ(linked.sequences, logged.sequences) << seed;
    ASSERT_TRUE(linked == logged) << seed;
    ASSERT_EQ(linked.waiting, 0u);
    ASSERT_GT(linked.handled, 0u);
    for (const auto& [pair, numbers] : linked.order)
      ASSERT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  }
}

TEST(MailboxBulk, a_bucket_with_more_rows_than_a_key_can_number_is_read_in_several_epochs) {
  MailboxTable table(options_of(MailboxForm::log, 1u << 20));
  table.own();
  table.resize(3);
  const size_t count = Partition::row_count_max + 5000;
  std::vector<AgentId> to(count);
  for (size_t i = 0; i < count; ++i) to[i] = agent(uint32_t(i % 3));
  const Rows rows = rows_to(to, 8);
  for (const Outcome outcome : send_rows(table, agent(0), rows)) ASSERT_EQ(outcome, Outcome::ok);
  uint64_t next[3] = {};
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, SIZE_MAX, 0), count);
  for (const Message& message : batch.messages()) {
    uint64_t& expected = next[index_of(message.to)];
    ASSERT_EQ(number_in(message), expected * 3 + index_of(message.to));
    ASSERT_EQ(message.sequence, expected++);
  }
  EXPECT_EQ(table.counters().epochs, 2u);
}

}  // namespace
}  // namespace hanse
