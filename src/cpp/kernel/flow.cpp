// The flow plane beside the record plane: sending, draining, deliveries of tasks, latents of tasks.
#include "kernel/flow.hpp"

#include <algorithm>
#include <ranges>

#include "base/seeded_bug.hpp"
#include "kernel/inner.hpp"

namespace hanse {

Flow::Flow(const ShardOptions& options)
    : shards(options.shard_count == 1 ? nullptr : std::make_unique<Shards>(options)),
      alone_(shards ? nullptr : std::make_unique<MailboxTable>(options.mailboxes)),
      mailboxes(shards ? shards->table(0) : *alone_),
      views(options.shard_count) {}

void Flow::grow(const AgentTable& agents) {
  if (!shards) {
    mailboxes.resize(agents.count());
    return;
  }
  const uint32_t known = shards->agent_count();
  std::vector<uint32_t> groups;
  for (uint32_t i = known; i < agents.count(); ++i) groups.push_back(i == 0 ? 0 : agents.parent(i));
  shards->resize(agents.count(), groups);
}

Outcome Flow::send(uint32_t here, const MessageHeader& header, Bytes payload) {
  if (!shards) return mailboxes.send(header, payload);
  return here == index_none ? shards->send_foreign(header, payload)
                            : shards->send(here, header, payload);
}

Outcome Flow::send_payload(uint32_t here, const MessageHeader& header, Payload&& payload) {
  if (!shards) return mailboxes.send_payload(header, std::move(payload));
  return here == index_none ? shards->send_foreign(header, std::move(payload))
                            : shards->send_payload(here, header, std::move(payload));
}

void Flow::send_many(uint32_t here, const MessageHeader& header, std::span<const AgentId> to,
                     MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                     std::span<Outcome> outcomes_in_out) {
  if (!shards) {
    mailboxes.send_many(header, to, payloads, sizes, outcomes_in_out);
  } else if (here != index_none) {
    shards->send_many(here, header, to, payloads, sizes, outcomes_in_out);
  } else {
    MessageHeader one = header;
    for (size_t i = 0; i < to.size(); ++i) {
      if (outcomes_in_out[i] != Outcome::ok) continue;
      one.to = to[i];
      const size_t size = sizes.empty() ? payloads.columns : sizes[i];
      outcomes_in_out[i] = shards->send_foreign(one, Bytes{payloads.row(i), size});
    }
  }
}

void FlowView::sync(const AgentTable& agents, uint64_t policy_epoch, uint64_t version,
                    MailboxTable& table) {
  const auto known = uint32_t(groups_.size());
  const uint32_t from = agents.epoch() == revocation_epoch_ ? known : 0;
  groups_.resize(agents.count());
  for (uint32_t i = from; i < agents.count(); ++i) {
    const bool live = agents.live(i);
    const bool gone = !live && agents.revoked_ancestor(i) != index_none;
    // What waits for a revoked agent becomes dead letters, in the ring too: it may have come and
    // gone before anyone drained.
    if ((i >= known || groups_[i] != revoked) && gone)
      table.close_box(agents.id_at(i), Outcome::revoked);
    const uint32_t group = i == 0 ? 0 : agents.parent(i);
    if (i >= known || (live && groups_[i] != group)) table.set_group(agents.id_at(i), group);
    groups_[i] = live ? group : gone ? revoked : paused;
  }
  blocks_.resize((agents.count() + (1u << block_bits) - 1) >> block_bits);
  for (uint32_t block = from >> block_bits; block < blocks_.size(); ++block) {
    const uint32_t begin = block << block_bits;
    const uint32_t end = std::min(begin + (1u << block_bits), agents.count());
    bool uniform = true;
    for (uint32_t i = begin; i < end; ++i) uniform &= groups_[i] == groups_[begin];
    blocks_[block] = uniform ? groups_[begin] : block_mixed;
  }
  if (policy_epoch != policy_epoch_) std::fill(bits_.begin(), bits_.end(), Bit{});
  revocation_epoch_ = agents.epoch();
  policy_epoch_ = policy_epoch;
  version_ = version;
}

void Kernel::Inner::sync_flow(uint32_t here) {
  FlowView& view = flow->views[here];
  if (view.version() == directory_version.load(std::memory_order_acquire)) return;
  std::lock_guard lock(writer);
  flow->grow(agents);
  view.sync(agents, epoch, directory_version.load(),
            here == 0 ? flow->mailboxes : flow->shards->table(here));
}

// The policy bit of two groups: may members of the one send to members of the other?
bool Kernel::Inner::send_allowed(uint32_t sender_group, uint32_t receiver_group) {
  Request request;
  request.action = Action::send;
  request.principal = lineage(sender_group);
  request.resource = lineage(receiver_group);
  request[Fact::principal_kind] = int64_t(agents.kind(sender_group));
  request[Fact::resource_kind] = int64_t(agents.kind(receiver_group));
  request[Fact::same_tenant] = agents.tenant(sender_group) == agents.tenant(receiver_group);
  return program->decide(request, epoch).allowed;
}

Outcome Kernel::Inner::admit(uint32_t here, AgentId sender, AgentId to) {
  if (here != index_none) {
    sync_flow(here);
    const Outcome admitted =
        flow->views[here].admit(sender, to, [this](uint32_t from, uint32_t at) {
          std::lock_guard lock(writer);
          return send_allowed(from, at);
        });
    if (admitted != Outcome::ok || !any_untrusted.load(std::memory_order_relaxed)) [[likely]]
      return admitted;
    std::lock_guard lock(writer);
    return label_flow(index_of(sender), index_of(to));
  }
  std::lock_guard lock(writer);
  if (!agents.contains(sender) || !agents.contains(to)) return Outcome::unknown;
  const uint32_t from = index_of(sender), at = index_of(to);
  for (const uint32_t one : {from, at})
    if (agents.revoked_ancestor(one) != index_none) return Outcome::revoked;
  if (!agents.live(from) || !agents.live(at)) return Outcome::paused;
  flow->grow(agents);
  return send_allowed(from == 0 ? 0 : agents.parent(from), at == 0 ? 0 : agents.parent(at))
             ? label_flow(from, at)
             : Outcome::denied;
}

Outcome Kernel::send(const MessageHeader& header, Bytes payload) {
  Inner& in = *inner_;
  in.check_open();
  Flow& flow = *in.flow;
  // The thread that owns the only table, and nothing changed since its last call: no other function
  // is called before the box is looked at.
  if (!flow.shards && flow.mailboxes.owned_by_caller() &&
      flow.views[0].version() == in.directory_version.load(std::memory_order_acquire) &&
      !in.any_untrusted.load(std::memory_order_relaxed)) [[likely]] {
    const Outcome admitted =
        flow.views[0].admit(header.sender, header.to, [&in](uint32_t from, uint32_t at) {
          std::lock_guard lock(in.writer);
          return in.send_allowed(from, at);
        });
    return admitted == Outcome::ok ? flow.mailboxes.send(header, payload) : admitted;
  }
  const uint32_t here = inner_->flow->here();
  const Outcome admitted = inner_->admit(here, header.sender, header.to);
  return admitted == Outcome::ok ? inner_->flow->send(here, header, payload) : admitted;
}

Outcome Kernel::send_payload(const MessageHeader& header, Payload&& payload) {
  inner_->check_open();
  const uint32_t here = inner_->flow->here();
  const Outcome admitted = inner_->admit(here, header.sender, header.to);
  return admitted == Outcome::ok ? inner_->flow->send_payload(here, header, std::move(payload))
                                 : admitted;
}

void Kernel::send_many(AgentId sender, std::span<const AgentId> to,
                       MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                       std::span<Outcome> outcomes_out) {
  Inner& in = *inner_;
  in.check_open();
  if (payloads.rows != to.size())
    throw Error(ErrorCode::bad_array, "payloads", payloads.rows, to.size());
  if (!sizes.empty() && sizes.size() != to.size())
    throw Error(ErrorCode::bad_array, "sizes", sizes.size(), to.size());
  if (outcomes_out.size() != to.size())
    throw Error(ErrorCode::bad_array, "outcomes_out", outcomes_out.size(), to.size());
  for (const uint32_t size : sizes)
    if (size > payloads.columns)
      throw Error(ErrorCode::out_of_range, "sizes", size, payloads.columns);
  std::fill(outcomes_out.begin(), outcomes_out.end(), Outcome::ok);
  MessageHeader header;
  header.sender = sender;
  const uint32_t here = in.flow->here();
  if (here != index_none) {
    in.sync_flow(here);
    in.flow->views[here].admit_many(sender, to, outcomes_out, [&in](uint32_t from, uint32_t at) {
      std::lock_guard lock(in.writer);
      return in.send_allowed(from, at);
    });
  } else {
    for (size_t i = 0; i < to.size(); ++i) outcomes_out[i] = in.admit(index_none, sender, to[i]);
  }
  if (in.any_untrusted.load(std::memory_order_relaxed) && here != index_none) {
    std::lock_guard lock(in.writer);
    for (size_t i = 0; i < to.size(); ++i)
      if (outcomes_out[i] == Outcome::ok)
        outcomes_out[i] = in.label_flow(index_of(sender), index_of(to[i]));
  }
  in.flow->send_many(here, header, to, payloads, sizes, outcomes_out);
}

// The mutex is held, or replay runs.
void Kernel::Inner::queue_delivery(uint32_t task, Position position) {
  if (!journal || options.read_only)
    return;  // replay: what is unfinished goes out again at the end
  const PendingDelivery pending{position, task, tasks.at(task).attempt};
  deliveries.push_back(pending);
  deliveries_of[index_of(tasks.at(task).worker)].push_back(pending);
}

// A handle of the kernel's own that this worker may read: the requester may be of another tenant,
// and whether it may read the latent was checked before.
LatentId Kernel::Inner::hand_over(LatentId latent, uint32_t worker) {
  const LatentId handle = latents->fork(latent, agents.root(), 0);
  latents->grant(handle, agents.id_at(worker));
  return handle;
}

void Kernel::Inner::hold_latents(uint32_t task, uint32_t worker, std::span<const LatentId> given) {
  if (given.empty()) return;
  std::vector<LatentId>& held = task_latents[task];
  try {
    for (const LatentId latent : given) held.push_back(hand_over(latent, worker));
  } catch (...) {
    drop_latents(task);
    throw;
  }
}

void Kernel::Inner::drop_latents(uint32_t task) {
  const auto found = task_latents.find(task);
  if (found == task_latents.end()) return;
  for (const LatentId latent : found->second) {
    try {
      latents->release(latent);
    } catch (const Error& error) {
      // The worker may have let go of its handle already.
      if (error.code() != ErrorCode::unknown_latent) throw;
    }
  }
  task_latents.erase(found);
}

// The next delivery of a queue that is durable and still wanted. The mutex is held.
bool Kernel::Inner::take_delivery(std::deque<PendingDelivery>& queue, Delivery& delivery_out,
                                  Bulk& payload_out) {
  const uint64_t durable = journal->durable_count();
  while (!queue.empty()) {
    const PendingDelivery pending = queue.front();
    if (pending.position >= durable && !HANSE_SEEDED_BUG(49)) return false;
    queue.pop_front();
    const Task& task = tasks.at(pending.task);
    if (delivered.size() <= pending.task) delivered.resize(tasks.count());
    if (task.state != TaskState::dispatched || task.attempt != pending.attempt ||
        delivered[pending.task] >= pending.attempt || !agents.live(index_of(task.worker)))
      continue;
    delivered[pending.task] = pending.attempt;
    delivery_out.task = tasks.id_at(pending.task);
    delivery_out.worker = task.worker;
    delivery_out.requester = task.requester;
    delivery_out.attempt = task.attempt;
    delivery_out.deadline_ns = task.deadline_ns;
    delivery_out.task_class = tasks.class_name(task.task_class);
    payload_out.size = task.payload_size;
    payload_out.extent = task.payload_extent;
    payload_out.bytes = task.payload;
    const auto held = task_latents.find(pending.task);
    if (held != task_latents.end()) delivery_out.latents = held->second;
    delivery_out.latents.resize(task.latents.size(), id_none);
    delivery_out.latent_missing =
        std::count(delivery_out.latents.begin(), delivery_out.latents.end(), id_none) != 0;
    return true;
  }
  return false;
}

// Without the mutex. What can't be read goes back to where it was taken from, and is left out: it
// goes out again, as the same attempt, with the next turn. -> why, of the last that could not.
std::exception_ptr Kernel::Inner::fetch_payloads(std::vector<Delivery>& deliveries,
                                                 std::span<Bulk> payloads) {
  std::exception_ptr unread;
  std::vector<Delivery> returned;
  size_t kept = 0;
  for (size_t i = 0; i < payloads.size(); ++i) {
    try {
      deliveries[i].payload = payloads[i].in_extent() ? journal->get_extent(payloads[i].extent)
                                                      : std::move(payloads[i].bytes);
    } catch (...) {
      unread = std::current_exception();
      returned.push_back(std::move(deliveries[i]));
      continue;
    }
    if (kept != i) deliveries[kept] = std::move(deliveries[i]);
    ++kept;
  }
  deliveries.resize(kept);
  if (returned.empty()) return unread;
  const std::lock_guard lock(writer);
  for (const Delivery& one : returned | std::views::reverse) put_back(one);
  return unread;
}

// The mutex is held.
void Kernel::Inner::put_back(const Delivery& delivery) {
  if (delivery.durable) return durable.untake(index_of(delivery.worker), delivery.sequence);
  const uint32_t index = index_of(delivery.task);
  const Task& task = tasks.at(index);
  if (delivered[index] != delivery.attempt || task.attempt != delivery.attempt) return;
  delivered[index] = uint16_t(delivery.attempt - 1);
  const PendingDelivery pending{task.changed_at, index, delivery.attempt};
  deliveries.push_front(pending);
  deliveries_of[index_of(delivery.worker)].push_front(pending);
}

namespace {

// What other shards sent to shard 0 is taken in.
class Turn {
 public:
  explicit Turn(Flow& flow) : shards_(flow.shards.get()) {
    if (shards_) shards_->take_in(0);
  }
  // There was nothing: from now on what comes wakes the event loop. True: something came meanwhile.
  bool more_came() const {
    if (!shards_ || shards_->rest(0)) return false;
    shards_->take_in(0);
    return true;
  }

 private:
  Shards* const shards_;
};

}  // namespace

void Kernel::own_flow() {
  inner_->check_open();
  inner_->flow->mailboxes.own();
  inner_->sync_flow(0);
}

size_t Kernel::run_native(size_t count_max) {
  own_flow();
  const Turn turn(*inner_->flow);
  return inner_->flow->mailboxes.run_native(count_max, inner_->clock->now_ns());
}

size_t Kernel::drain(MessageBatch& batch, std::vector<Delivery>& deliveries, size_t count_max,
                     const WantedBoxes* wanted) {
  Inner& in = *inner_;
  in.check_open();
  in.flow->mailboxes.own();
  in.sync_flow(0);
  const Turn turn(*in.flow);
  deliveries.clear();
  batch.clear();
  std::vector<Bulk> payloads;
  {
    std::lock_guard lock(in.writer);
    while (deliveries.size() < count_max && !in.deliveries.empty()) {
      Delivery delivery;
      Bulk payload;
      if (!in.take_delivery(in.deliveries, delivery, payload)) break;
      deliveries.push_back(std::move(delivery));
      payloads.push_back(std::move(payload));
    }
    if (in.deliveries.empty()) in.deliveries_of.clear();
    in.take_durable(count_max, deliveries, payloads);
  }
  const std::exception_ptr unread = in.fetch_payloads(deliveries, payloads);
  const size_t rest = count_max - deliveries.size();
  size_t messages = 0;
  do messages = in.flow->mailboxes.drain(batch, rest, in.clock->now_ns(), 64, wanted);
  while (messages + deliveries.size() == 0 && rest != 0 && turn.more_came());
  if (unread && deliveries.size() + messages == 0) std::rethrow_exception(unread);
  return deliveries.size() + messages;
}

bool Kernel::receive(AgentId agent, MessageBatch& batch, std::vector<Delivery>& deliveries) {
  Inner& in = *inner_;
  in.check_open();
  in.flow->mailboxes.own();
  in.sync_flow(0);
  const Turn turn(*in.flow);
  deliveries.clear();
  batch.clear();
  Delivery delivery;
  Bulk payload;
  bool found = false;
  {
    std::lock_guard lock(in.writer);
    const auto queue = in.deliveries_of.find(in.agents.index_checked(agent));
    if (queue != in.deliveries_of.end()) {
      found = in.take_delivery(queue->second, delivery, payload);
      if (queue->second.empty()) in.deliveries_of.erase(queue);
    }
    if (!found) found = in.take_durable_of(index_of(agent), delivery, payload);
    // What went out this way is skipped when the common queue comes to it.
    while (!in.deliveries.empty() && in.deliveries.front().task < in.delivered.size() &&
           in.delivered[in.deliveries.front().task] >= in.deliveries.front().attempt)
      in.deliveries.pop_front();
  }
  if (found) {
    deliveries.push_back(std::move(delivery));
    if (const auto unread = in.fetch_payloads(deliveries, {&payload, 1}))
      std::rethrow_exception(unread);
    return true;
  }
  if (in.flow->elsewhere(agent))
    throw Error(ErrorCode::wrong_thread, "agent", "it is on another shard", agent);
  do found = in.flow->mailboxes.receive(agent, batch, in.clock->now_ns());
  while (!found && turn.more_came());
  return found;
}

}  // namespace hanse
