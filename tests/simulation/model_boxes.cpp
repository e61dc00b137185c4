// Durable boxes.
#include <algorithm>

#include "simulation/model.hpp"

namespace hanse::simulation {

Answer Model::declare(uint32_t actor, uint32_t agent, const DurableOptions& options) {
  expire();
  acting(actor);
  require_within(actor, agent);
  boxes[agent].options = options;
  return {0, {commit()}};
}

// What becomes of a message, behind those that its record has taken already.
Outcome Model::judge_note(uint32_t sender, const Note& note, const std::vector<Note>& taken,
                          const Sent** before) {
  *before = nullptr;
  if (!note.key.empty()) {
    const auto used = note_keys_.find({sender, note.key});
    if (used != note_keys_.end()) {
      *before = &used->second;
      return used->second.to == note.to && used->second.payload == note.payload ? Outcome::replayed
                                                                                : Outcome::conflict;
    }
    for (const Note& other : taken)
      if (other.key == note.key)
        return other.to == note.to && other.payload == note.payload ? Outcome::replayed
                                                                    : Outcome::conflict;
  }
  if (note.to >= agents.size()) return Outcome::unknown;
  if (!live(note.to)) return Outcome::revoked;
  const auto found = boxes.find(note.to);
  if (found == boxes.end()) return Outcome::invalid;
  const DurableOptions& options = found->second.options;
  uint64_t messages = found->second.queue.size(), bytes = note.payload.size();
  if (bytes > options.payload_bytes_max) return Outcome::too_large;
  for (const Letter& letter : found->second.queue) bytes += letter.payload.size();
  for (const Note& other : taken)
    if (other.to == note.to) ++messages, bytes += other.payload.size();
  const bool full = messages >= options.capacity_messages || bytes > options.payload_bytes_max;
  if (full) return Outcome::full;
  return label_flow(sender, note.to) ? Outcome::ok : Outcome::denied;
}

// The sequences that they got.
std::vector<uint64_t> Model::put(uint32_t sender, const std::vector<Note>& taken) {
  std::vector<uint64_t> sequences;
  for (const Note& note : taken) {
    Box& box = boxes.at(note.to);
    sequences.push_back(box.accepted);
    box.queue.push_back({box.accepted++, sender, note.payload, count});
    if (!note.key.empty())
      note_keys_[{sender, note.key}] = {note.to, note.payload, sequences.back(), count};
  }
  return sequences;
}

Answer Model::send_notes(uint32_t sender, const std::vector<Note>& notes) {
  expire();
  Answer answer;
  std::vector<Note> taken;
  std::vector<std::pair<Outcome, int64_t>> said;  // the line, -1: an older one, -2: none
  std::vector<const Sent*> before(notes.size());
  for (size_t i = 0; i < notes.size(); ++i) {
    if (!live(sender)) {
      said.emplace_back(Outcome::revoked, -2);
      continue;
    }
    const Outcome outcome = judge_note(sender, notes[i], taken, &before[i]);
    int64_t line = before[i] ? -1 : -2;
    if (outcome == Outcome::ok) {
      line = int64_t(taken.size());
      taken.push_back(notes[i]);
    } else if (!before[i] && (outcome == Outcome::replayed || outcome == Outcome::conflict)) {
      for (size_t j = 0; j < taken.size(); ++j)
        if (taken[j].key == notes[i].key) line = int64_t(j);
    }
    said.emplace_back(outcome, line);
  }
  const std::vector<uint64_t> sequences = put(sender, taken);
  const uint64_t position = count;
  for (size_t i = 0; i < notes.size(); ++i) {
    const auto [outcome, line] = said[i];
    answer.values.push_back(uint64_t(outcome));
    answer.values.push_back(line >= 0    ? sequences[size_t(line)]
                            : line == -1 ? before[i]->sequence
                                         : 0);
    answer.values.push_back(line >= 0    ? position
                            : line == -1 ? before[i]->position
                                         : position_none);
  }
  if (!taken.empty()) commit();
  return answer;
}

// Where they are in the agent's own box.
std::vector<size_t> Model::waiting(uint32_t agent, const std::vector<uint64_t>& sequences) const {
  if (sequences.empty()) return {};
  const auto box = boxes.find(agent);
  std::vector<uint64_t> sorted = sequences;
  std::sort(sorted.begin(), sorted.end());
  std::vector<size_t> found;
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (box == boxes.end() || sorted[i] >= box->second.accepted)
      throw Refused{ErrorCode::out_of_range};
    const auto& queue = box->second.queue;
    const auto letter = std::find_if(queue.begin(), queue.end(),
                                     [&](const Letter& l) { return l.sequence == sorted[i]; });
    if (letter == queue.end() || (i != 0 && sorted[i - 1] == sorted[i]))
      throw Refused{ErrorCode::already_resolved};
    found.push_back(size_t(letter - queue.begin()));
  }
  return found;
}

Answer Model::commit_box(uint32_t agent, const std::vector<uint64_t>& acknowledged,
                         const std::vector<Note>& notes, const std::optional<std::string>& state) {
  expire();
  acting(agent);
  std::vector<size_t> letters = waiting(agent, acknowledged);
  std::vector<Note> taken;
  bool refused = false;
  uint64_t newest = 0;
  Answer answer;
  for (const Note& note : notes) {
    const Sent* before;
    const Outcome outcome = judge_note(agent, note, taken, &before);
    if (outcome == Outcome::ok) taken.push_back(note);
    if (before) newest = std::max(newest, before->position);
    refused |= outcome != Outcome::ok && outcome != Outcome::replayed;
    answer.values.push_back(uint64_t(outcome));
  }
  if (refused) {
    for (uint64_t& value : answer.values)
      if (Outcome(value) == Outcome::ok || Outcome(value) == Outcome::replayed)
        value = uint64_t(Outcome::aborted);
    answer.values.push_back(position_none);
    return answer;
  }
  if (letters.empty() && taken.empty() && !state) {
    answer.values.push_back(newest);
    return answer;
  }
  for (size_t i = letters.size(); i-- > 0;) {
    Box& box = boxes.at(agent);
    box.queue.erase(box.queue.begin() + ptrdiff_t(letters[i]));
    ++box.acknowledged;
  }
  put(agent, taken);
  if (state) states[agent] = *state;
  answer.values.push_back(commit());
  return answer;
}

void Model::bury(Box& box, size_t at, Outcome reason) {
  const Letter& letter = box.queue[at];
  box.dead.push_back({letter.sequence, letter.sender, letter.attempt, reason});
  if (box.dead.size() > 64) box.dead.erase(box.dead.begin());
  ++box.dead_count;
  box.queue.erase(box.queue.begin() + ptrdiff_t(at));
}

// It goes out once more, unless its attempts are used up.
void Model::again(Box& box, uint64_t sequence) {
  for (size_t at = 0; at < box.queue.size(); ++at) {
    Letter& letter = box.queue[at];
    if (letter.sequence != sequence) continue;
    if (letter.attempt >= box.options.attempts_max) return bury(box, at, Outcome::expired);
    ++letter.attempt;
    letter.position = count;
    letter.handed = false;
    return;
  }
}

Answer Model::give_back(uint32_t agent, const std::vector<uint64_t>& sequences) {
  if (sequences.empty()) return {0, {position_none}};
  expire();
  acting(agent);
  waiting(agent, sequences);
  Box& box = boxes.at(agent);
  for (const uint64_t sequence : sequences) again(box, sequence);
  return {0, {commit()}};
}

// What may have been handed out counts an attempt.
void Model::reopen_boxes() {
  bool some = false;
  for (auto& [owner, box] : boxes) {
    std::vector<uint64_t> out;
    for (const Letter& letter : box.queue)
      if (out.size() < box.options.in_flight_max) out.push_back(letter.sequence);
    for (const uint64_t sequence : out) again(box, sequence);
    some |= !out.empty();
  }
  if (some) commit();
}

}  // namespace hanse::simulation
