// Questions about the past: the history of the books, folded as far as it is asked about.
#include <algorithm>
#include <ranges>

#include "kernel/inner.hpp"

namespace hanse {

namespace {

constexpr int beginnings_max = 3;  // of one question, while the journal is being compacted

void require_kept(const History& history, const char* field, Position position) {
  if (position >= history.floor()) return;
  throw Error(ErrorCode::unknown_event, field,
              std::to_string(position) + " was dropped; the history begins with record " +
                  std::to_string(history.floor()),
              0, history.floor());
}

// The state after the record at `position`.
void require_state(const History& history, Position position) {
  require_kept(history, "at", position + 1);
  if (position >= history.count())
    throw Error(ErrorCode::unknown_event, "at", position, history.count());
}

}  // namespace

// Where the first records are gone: from the oldest snapshot that can be restored, which is that of
// the first record kept unless it is damaged.
void Kernel::Inner::begin_history() {
  history = std::make_unique<History>();
  if (journal->oldest() == 0) return;
  const std::lock_guard one(snapshot_mutex);
  std::vector<uint64_t> counts = list_snapshots(*disk);
  for (const uint64_t count : counts | std::views::reverse) {
    if (count < journal->oldest()) continue;
    Inner then;
    then.prepare(quiet(options), disk);
    then.capabilities.fold_later();
    try {
      then.restore(count);
    } catch (const Error&) {
      continue;
    }
    History::Start start{count, {}, {}, {}};
    SnapshotWriter out(
        [&](Bytes bytes) { start.ledger.insert(start.ledger.end(), bytes.begin(), bytes.end()); });
    then.ledger.encode(out);
    out.finish();
    for (uint32_t i = 0; i < then.agents.count(); ++i)
      start.parents.push_back(i == 0 ? index_none : then.agents.parent(i));
    for (uint32_t i = 0; i < then.tasks.count(); ++i) {
      const Task& task = then.tasks.at(i);
      const TaskMore* more = then.tasks.more(i);
      start.tasks.push_back({task.hold, index_of(task.requester), index_of(task.worker), task.unit,
                             more == nullptr ? std::vector<TaskRead>{} : more->reads});
    }
    history = std::make_unique<History>(std::move(start));
    return;
  }
  throw Error(ErrorCode::unknown_event, "history",
              "the oldest record kept is " + std::to_string(journal->oldest()) +
                  ", and no intact snapshot holds the books before it",
              0, journal->oldest());
}

void Kernel::Inner::catch_up(const Kernel::Progress& progress) {
  constexpr uint64_t progress_every = 4096;
  if (durability == Durability::memory)
    throw Error(ErrorCode::unknown_event, "history", "records are not kept in memory mode");
  if (!options.read_only) journal->flush();
  for (int beginnings = 1;; ++beginnings) {
    if (!history || history->count() < journal->oldest()) begin_history();
    const uint64_t count = journal->count(), from = history->count();
    {
      // About what a record of one transfer takes; the exact figure follows as it is read.
      std::lock_guard lock(writer);
      check_memory((count - from) * 256, "history");
    }
    try {
      for (uint64_t at = from; at < count; ++at) {
        history->fold(journal->read(at));
        history_bytes.store(history->memory_bytes());
        if (progress && ((at + 1 - from) % progress_every == 0 || at + 1 == count))
          progress(at + 1 - from, count - from);
      }
      return;
    } catch (const Error& error) {
      // Records that were to be read next may have been dropped meanwhile.
      if (error.code() != ErrorCode::unknown_event || beginnings == beginnings_max) throw;
    }
  }
}

EntryPage Kernel::entries(AgentId actor, const EntryQuery& query, const Progress& progress) {
  Inner& in = *inner_;
  in.check_open();
  if (query.limit == 0 || query.limit > entries_per_page_max)
    throw Error(ErrorCode::out_of_range, "limit", query.limit, entries_per_page_max);
  std::lock_guard lock(in.history_mutex);
  in.catch_up(progress);
  // Without a start it is everything that is there, and the page says where that begins.
  if (query.start != 0) require_kept(*in.history, "start", query.start);
  std::lock_guard writer(in.writer);
  const uint32_t me = in.agents.index_checked(actor);
  if (query.agent != id_none) (void)in.visible(me, query.agent);
  EntryPage page = in.history->find(query, [&](uint32_t agent) { return in.owns_view(me, agent); });
  page.floor = in.history->floor();
  return page;
}

std::vector<AccountInfo> Kernel::accounts_at(AgentId actor, Position position,
                                             const Progress& progress) {
  Inner& in = *inner_;
  in.check_open();
  std::lock_guard lock(in.history_mutex);
  in.catch_up(progress);
  require_state(*in.history, position);
  std::vector<AccountInfo> found = in.history->accounts_at(position);
  std::lock_guard writer(in.writer);
  const uint32_t me = in.agents.index_checked(actor);
  std::erase_if(found,
                [&](const AccountInfo& info) { return !in.owns_view(me, index_of(info.owner)); });
  return found;
}

AccountInfo Kernel::account_at(AgentId actor, AgentId agent, UnitId unit, AccountPurpose purpose,
                               Position position, const Progress& progress) {
  Inner& in = *inner_;
  const AccountInfo info = account(actor, agent, unit, purpose);  // whether the actor may ask
  std::lock_guard lock(in.history_mutex);
  in.catch_up(progress);
  require_state(*in.history, position);
  const AccountIndex index = in.history->ledger().account_find(index_of(agent), unit, purpose);
  return index == index_none ? History::emptied(info) : in.history->account_at(index, position);
}

}  // namespace hanse
