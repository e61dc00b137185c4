// What a dispatch asks for and what its caller keeps; how a task is completed and judged.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "capability/capability.hpp"
#include "journal/journal.hpp"
#include "latent/latent.hpp"
#include "ledger/ledger.hpp"
#include "task/task.hpp"

namespace hanse {

struct DispatchRequest {
  AgentId to = id_none;          // none: match by query
  std::span<const float> query;  // [dim] of the space
  uint32_t space = 0;
  Feasible feasible;  // price_max is lowered to budget; tenants see `tenant`
  std::string_view task_class;
  Bytes payload;
  std::span<const LatentId> latents;
  uint64_t budget = 0;  // reserved in full
  UnitId unit = 0;
  uint64_t deadline_ns = 0;  // absolute; 0: none
  Bytes key;                 // idempotency; empty: none
  bool verifier_required = false;
  TaskId parent = id_none;         // the task that this one is part of: cancelled with it
  uint64_t lease_ns = 0;           // a worker that is silent so long has died; 0: it never does
  AgentId verifier = id_none;      // who must verify
  std::string_view verifier_role;  // or which role whoever verifies must have
  std::string_view role;           // that the worker must have
  std::string_view approval;       // the rule by which a person must approve; empty: none
  AgentId approver = id_none;      // none: a person above the requester, or of its tenant
  uint64_t answer_by_ns = 0;       // of the approval; 0: in a day
  bool plain() const {
    return parent == id_none && lease_ns == 0 && verifier == id_none && verifier_role.empty() &&
           role.empty() && approval.empty();
  }
};

// What a caller keeps. With `outcome` other than ok or replayed there is no task.
struct Receipt {
  Outcome outcome = Outcome::ok;
  Durability durability = Durability::memory;
  TaskId task = id_none;
  AgentId agent = id_none;
  uint32_t offer = 0, version = 0;  // version 0: addressed directly
  uint16_t attempt = 1;
  float score = 0;
  uint64_t price = 0, reserved = 0;
  uint64_t epoch = 0;                 // of the policy decision
  Position position = position_none;  // of the record: also its Merkle leaf; refusals have one too
  std::string reason;                 // of a refusal, for people
};

struct Completion {
  TaskId task = id_none;
  Digest artifact{};
  Usage usage;
  std::optional<uint64_t> total_tokens;  // must equal the sum of usage: usage_inconsistent
};

enum class Verdict : uint8_t { accept = 0, reject = 1, withdraw = 2 };  // withdraw: void the task

}  // namespace hanse
