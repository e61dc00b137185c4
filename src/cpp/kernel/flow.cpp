// The flow plane beside the record plane: sending, draining, deliveries of tasks, latents of tasks.
#include "kernel/flow.hpp"

#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

void Flow::sync(const AgentTable& agents, uint64_t policy_epoch, uint64_t version) {
  const auto known = uint32_t(groups_.size());
  const uint32_t from = agents.epoch() == revocation_epoch_ ? known : 0;
  groups_.resize(agents.count());
  mailboxes.resize(agents.count());
  for (uint32_t i = from; i < agents.count(); ++i) {
    const bool live = agents.live(i);
    // What waits for a revoked agent becomes dead letters, in the ring too: it may have come and
    // gone before anyone drained.
    if ((i >= known || groups_[i] != revoked) && !live)
      mailboxes.close_box(agents.id_at(i), Outcome::revoked);
    const uint32_t group = i == 0 ? 0 : agents.parent(i);
    if (i >= known) mailboxes.set_group(agents.id_at(i), group);
    groups_[i] = live ? group : revoked;
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

void Kernel::Inner::sync_flow() {
  if (flow->version() == directory_version.load(std::memory_order_acquire)) return;
  std::lock_guard lock(writer);
  flow->sync(agents, epoch, directory_version.load());
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

Outcome Kernel::Inner::admit(AgentId sender, AgentId to) {
  if (flow->mailboxes.owned_by_caller()) {
    sync_flow();
    const Outcome admitted = flow->admit(sender, to, [this](uint32_t from, uint32_t at) {
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
  if (!agents.live(from) || !agents.live(at)) return Outcome::revoked;
  flow->mailboxes.resize(agents.count());
  return send_allowed(from == 0 ? 0 : agents.parent(from), at == 0 ? 0 : agents.parent(at))
             ? label_flow(from, at)
             : Outcome::denied;
}

Outcome Kernel::send(const MessageHeader& header, Bytes payload) {
  inner_->check_open();
  const Outcome admitted = inner_->admit(header.sender, header.to);
  return admitted == Outcome::ok ? inner_->flow->mailboxes.send(header, payload) : admitted;
}

Outcome Kernel::send_payload(const MessageHeader& header, Payload&& payload) {
  inner_->check_open();
  const Outcome admitted = inner_->admit(header.sender, header.to);
  return admitted == Outcome::ok ? inner_->flow->mailboxes.send_payload(header, std::move(payload))
                                 : admitted;
}

namespace {

void admit_all(Kernel::Inner& in, AgentId sender, uint64_t topic,
               std::vector<Outcome>& outcomes_out) {
  in.check_open();
  in.flow->mailboxes.own();
  in.sync_flow();
  const std::span<const AgentId> subscribers = in.flow->mailboxes.subscribers(topic);
  outcomes_out.resize(subscribers.size());
  for (size_t i = 0; i < subscribers.size(); ++i)
    outcomes_out[i] = in.admit(sender, subscribers[i]);
}

}  // namespace

size_t Kernel::publish(uint64_t topic, const MessageHeader& header, Bytes payload,
                       std::vector<Outcome>& outcomes_out) {
  admit_all(*inner_, header.sender, topic, outcomes_out);
  return inner_->flow->mailboxes.publish(topic, header, payload, outcomes_out);
}

size_t Kernel::publish(uint64_t topic, const MessageHeader& header, const Payload& payload,
                       std::vector<Outcome>& outcomes_out) {
  admit_all(*inner_, header.sender, topic, outcomes_out);
  return inner_->flow->mailboxes.publish_payload(topic, header, payload, outcomes_out);
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
  if (in.flow->mailboxes.owned_by_caller()) {
    in.sync_flow();
    in.flow->admit_many(sender, to, outcomes_out, [&in](uint32_t from, uint32_t at) {
      std::lock_guard lock(in.writer);
      return in.send_allowed(from, at);
    });
  } else {
    for (size_t i = 0; i < to.size(); ++i) outcomes_out[i] = in.admit(sender, to[i]);
  }
  if (in.any_untrusted.load(std::memory_order_relaxed) && in.flow->mailboxes.owned_by_caller()) {
    std::lock_guard lock(in.writer);
    for (size_t i = 0; i < to.size(); ++i)
      if (outcomes_out[i] == Outcome::ok)
        outcomes_out[i] = in.label_flow(index_of(sender), index_of(to[i]));
  }
  in.flow->mailboxes.send_many(header, to, payloads, sizes, outcomes_out);
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
    if (pending.position >= durable) return false;
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

void Kernel::own_flow() {
  inner_->check_open();
  inner_->flow->mailboxes.own();
  inner_->sync_flow();
}

size_t Kernel::run_native(size_t count_max) {
  own_flow();
  return inner_->flow->mailboxes.run_native(count_max, inner_->clock->now_ns());
}

size_t Kernel::drain(MessageBatch& batch, std::vector<Delivery>& deliveries, size_t count_max) {
  Inner& in = *inner_;
  in.check_open();
  in.flow->mailboxes.own();
  in.sync_flow();
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
  for (size_t i = 0; i < payloads.size(); ++i)
    deliveries[i].payload = payloads[i].in_extent() ? in.journal->get_extent(payloads[i].extent)
                                                    : std::move(payloads[i].bytes);
  const size_t messages =
      in.flow->mailboxes.drain(batch, count_max - deliveries.size(), in.clock->now_ns());
  return deliveries.size() + messages;
}

bool Kernel::receive(AgentId agent, MessageBatch& batch, std::vector<Delivery>& deliveries) {
  Inner& in = *inner_;
  in.check_open();
  in.flow->mailboxes.own();
  in.sync_flow();
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
    delivery.payload =
        payload.in_extent() ? in.journal->get_extent(payload.extent) : std::move(payload.bytes);
    deliveries.push_back(std::move(delivery));
    return true;
  }
  return in.flow->mailboxes.receive(agent, batch, in.clock->now_ns());
}

}  // namespace hanse
