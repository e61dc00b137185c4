// What people and other authorities are shown and answer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/identity.hpp"
#include "agent/reputation.hpp"
#include "base/ids.hpp"
#include "task/attempts.hpp"

namespace hanse {

// Requests for approval that one answer settles: those of one rule and one class of task.
struct ApprovalItem {
  std::string rule, task_class;
  std::vector<TaskId> tasks;  // ascending
  uint64_t budget = 0;        // of all of them
  uint64_t answer_by_ns = 0;  // the earliest: silence until then is a denial
  Position asked_to = 0;      // requests recorded later are not part of it
  Digest hash{};              // of all that is asked
};

struct ApprovalAnswer {
  std::string rule, task_class;
  Position asked_to = 0;
  uint64_t answer_by_ns = 0;
  Digest hash{};
  bool allow = false;
};

struct NamedStanding {
  std::string task_class;
  Standing standing;
};

struct PassportAdmission {
  AgentId parent = id_none;
  std::string name;
  Digest identity{}, source{}, document{};
  std::vector<IdentityEntry> entries;  // from the first
  std::vector<NamedStanding> standings;
};

// An offer that can be found, as a passport shows it.
struct OfferHeld {
  std::string space;
  uint32_t offer = 0, version = 0;
  int64_t price = 0;
  uint8_t tier = 0;
  uint64_t skills = 0;
};

struct CostAsked {
  std::optional<std::string> task_class;
  std::optional<uint8_t> tier;
  AgentId agent = id_none;  // the worker
  AgentId team = id_none;   // requesters at or below it
  uint64_t since_ns = 0, until_ns = UINT64_MAX;
};

}  // namespace hanse
