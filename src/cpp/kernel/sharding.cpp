// The shards of the flow plane, as the kernel offers them.
#include <unistd.h>

#include "kernel/inner.hpp"

namespace hanse {

namespace {

Shards& several(Kernel::Inner& in, uint32_t shard) {
  if (shard == 0 || shard >= in.options.shard_count)
    throw Error(ErrorCode::out_of_range, "shard",
                "want 1 … " + std::to_string(in.options.shard_count - 1) + ", have " +
                    std::to_string(shard));
  return *in.flow->shards;
}

}  // namespace

ShardOptions Kernel::Inner::shard_options() {
  ShardOptions shards;
  shards.shard_count = options.shard_count;
  shards.mailboxes = options.mailbox;
  shards.before_context = this;
  shards.before_turn = [](void* context, uint32_t shard) {
    static_cast<Inner*>(context)->sync_flow(shard);
  };
  return shards;
}

uint32_t Kernel::shard_count() const { return inner_->options.shard_count; }

void Kernel::place(AgentId actor, AgentId group, uint32_t shard) {
  Inner& in = *inner_;
  in.check_open();
  if (shard >= in.options.shard_count)
    throw Error(ErrorCode::out_of_range, "shard", shard, in.options.shard_count - 1);
  uint32_t index = 0;
  {
    std::lock_guard lock(in.writer);
    index = in.within(in.acting(actor), group);
    in.flow->grow(in.agents);
  }
  if (in.flow->shards) in.flow->shards->migrate(index, shard);
}

uint32_t Kernel::shard_of(AgentId agent) const {
  Inner& in = *inner_;
  in.check_open();
  std::lock_guard lock(in.writer);
  (void)in.agents.index_checked(agent);
  in.flow->grow(in.agents);
  return in.flow->shards ? in.flow->shards->shard_of(agent) : 0;
}

void Kernel::run_shard(uint32_t shard, ShardHandler handler, void* context) {
  inner_->check_open();
  several(*inner_, shard).run(shard, handler, context);
}

size_t Kernel::turn_shard(uint32_t shard, ShardHandler handler, void* context) {
  inner_->check_open();
  Shards& shards = several(*inner_, shard);
  const Shards::Visit visit(shards, shard);
  return shards.turn(shard, handler, context, inner_->clock->now_ns());
}

void Kernel::stop_shards() {
  if (inner_->flow && inner_->flow->shards) inner_->flow->shards->stop();
}

void Kernel::set_native(AgentId agent, NativeHandler handler, void* context) {
  at_box(agent, [&](MailboxTable& table) { table.set_native(agent, handler, context); });
}

Shards* Kernel::shards() { return inner_->flow->shards.get(); }

MailboxTable& Kernel::mailboxes_here() {
  const uint32_t here = inner_->flow->here();
  return here == 0 || here == index_none ? inner_->flow->mailboxes
                                         : inner_->flow->shards->table(here);
}

MailboxCounters Kernel::mailbox_counters() const {
  const Flow& flow = *inner_->flow;
  return flow.shards ? flow.shards->counters() : flow.mailboxes.counters();
}

Kernel::ShardReport Kernel::shard_report(uint32_t shard) const {
  Inner& in = *inner_;
  if (shard >= in.options.shard_count)
    throw Error(ErrorCode::out_of_range, "shard", shard, in.options.shard_count - 1);
  if (!in.flow->shards) return {mailbox_counters(), agent_count()};
  ShardReport report;
  {
    std::lock_guard lock(in.writer);
    in.flow->grow(in.agents);
    for (uint32_t i = 0; i < in.agents.count(); ++i)
      report.agents += in.flow->shards->shard_of(make_id(i, 1)) == shard;
  }
  report.counters = in.flow->shards->counters(shard);
  return report;
}

Kernel::ShardTotals Kernel::shard_totals() const {
  const Shards* shards = inner_->flow->shards.get();
  return shards ? ShardTotals{shards->crossed(), shards->wakes(), shards->migrations()}
                : ShardTotals{};
}

QueueAges Kernel::queue_ages() const {
  const Flow& flow = *inner_->flow;
  return flow.shards ? flow.shards->ages() : flow.mailboxes.ages();
}

std::vector<TraceRecord> Kernel::traces() const {
  const Flow& flow = *inner_->flow;
  return flow.shards ? flow.shards->traces() : flow.mailboxes.traces();
}

std::vector<DeadLetter> Kernel::dead_letters() const {
  return inner_->flow->mailboxes.dead_letters();
}

Outcome Kernel::resend(uint64_t number) {
  inner_->check_open();
  Flow& flow = *inner_->flow;
  return flow.shards ? flow.shards->resend(number) : flow.mailboxes.resend(number);
}

void Kernel::cancel_message(AgentId to, uint64_t request) {
  Flow& flow = *inner_->flow;
  const uint32_t here = flow.here();
  if (here == index_none) return;
  if (flow.shards)
    flow.shards->cancel(here, to, request);
  else
    flow.mailboxes.cancel(to, request);
}

void Kernel::rest() {
  Shards* const shards = inner_->flow->shards.get();
  if (!shards || !inner_->flow->mailboxes.owned_by_caller()) return;
  while (!shards->rest(0)) shards->take_in(0);
}

TraceDigest Kernel::digest() const {
  const Flow& flow = *inner_->flow;
  return flow.shards ? flow.shards->digest() : flow.mailboxes.digest();
}

void Kernel::take_undelivered(std::vector<Undelivered>& undelivered_out) {
  Flow& flow = *inner_->flow;
  flow.mailboxes.take_undelivered(undelivered_out);
  for (uint32_t shard = 1; shard < inner_->options.shard_count; ++shard)
    flow.shards->table(shard).take_undelivered(undelivered_out);
}

// The event loop's thread sleeps in a poll, not in `run`: what comes writes to its descriptor.
void Kernel::Inner::wake_by_descriptor() {
  if (!flow->shards) return;
  flow->shards->set_waker(
      0,
      [](void* context) {
        const int fd = static_cast<Inner*>(context)->notify_fd.load();
        const uint64_t one = 1;
        if (fd >= 0) (void)!write(fd, &one, sizeof one);
      },
      this);
}

void Kernel::set_notify_fd(int fd) {
  Flow& flow = *inner_->flow;
  inner_->notify_fd.store(fd);
  if (fd < 0 || !flow.shards || !flow.mailboxes.owned_by_caller()) return;
  const uint64_t one = 1;
  if (!flow.shards->rest(0)) (void)!write(fd, &one, sizeof one);
}

}  // namespace hanse
