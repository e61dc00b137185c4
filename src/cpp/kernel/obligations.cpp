// What a dispatch owes the rules that permit it: an approval, a verifier, a cut, a rate.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

// Secrecy bits of all that the request hands over.
uint64_t Kernel::Inner::label_of(uint32_t actor, const DispatchRequest& request) const {
  uint64_t label = 0;
  for (const LatentId latent : request.latents)
    label |= latents->info(latent, agents.id_at(actor), agents.tenant(actor)).label;
  return label;
}

uint8_t Kernel::Inner::redactions(const Choice& choice) const {
  uint8_t cut = 0;
  if ((choice.obligations & obligation_redact) != 0)
    for (const uint16_t rule : choice.obliging) cut |= program->rule(rule).redact;
  return cut;
}

namespace {

// At most 32 bytes: what a unit's name may have.
std::string rate_unit(const std::string& rule) {
  constexpr size_t name_size_max = 27;
  if (rule.size() <= name_size_max) return "rate/" + rule;
  const Digest digest = sha256({reinterpret_cast<const uint8_t*>(rule.data()), rule.size()});
  return "rate/" + hex(digest).substr(0, name_size_max);
}

}  // namespace

// How many of the window the tenant has taken; what is held comes back when the window has passed.
uint64_t Kernel::Inner::rate_taken(uint32_t tenant, std::string_view unit_name) const {
  const UnitId unit = ledger.unit_find(unit_name);
  if (unit == unit_none) return 0;
  const AccountIndex account = ledger.account_find(tenant, unit);
  return account == index_none ? 0 : uint64_t(ledger.account(account).debits_pending);
}

// The task is offered, its money reserved; a person of `approvals` answers. An approver whom the
// rule names and who isn't there can't say yes, so that nobody is asked in their place.
void Kernel::Inner::seek_approval(uint32_t actor, Choice& choice) {
  for (const uint16_t number : choice.obliging) {
    const RuleInfo rule = program->rule(number);
    if ((rule.obligations & obligation_approval) == 0) continue;
    choice.approval = rule.name;
    choice.reason = "waits for approval " + name_rules(choice.obliging);
    if (rule.approver.empty()) return;
    const uint32_t person = agents.find(rule.approver);
    if (person == index_none || !same_view(actor, person)) {
      choice.outcome = Outcome::denied;
      choice.rules.assign(1, number);
      choice.reason = "its approver " + rule.approver + " is unknown: " + name_rules(choice.rules);
      choice.recorded = true;
      return;
    }
    choice.approver = agents.id_at(person);
    return;
  }
}

void Kernel::Inner::oblige(uint32_t actor, Choice& choice, Tentative* tentative) {
  const uint32_t tenant = agents.tenant(actor);
  for (const uint16_t number : choice.obliging) {
    const RuleInfo rule = program->rule(number);
    if (rule.rate.count == 0) continue;
    RateLine line{tenant, rate_unit(rule.name), rule.rate.count,
                  next_time_ns() + uint64_t(rule.rate.seconds) * 1'000'000'000};
    const uint32_t more = tentative == nullptr ? 0 : tentative->rates[line.unit]++;
    if (rate_taken(tenant, line.unit) + more >= rule.rate.count) {
      choice.outcome = Outcome::rate_limited;
      choice.rules.assign(1, number);
      choice.reason = std::to_string(rule.rate.count) + " in " + std::to_string(rule.rate.seconds) +
                      " s are taken: " + name_rules(choice.rules);
      choice.recorded = true;
      return;
    }
    ledger.check_unit(line.unit);
    choice.rates.push_back(std::move(line));
  }
  if ((choice.obligations & obligation_approval) != 0) seek_approval(actor, choice);
}

// A rate is an account of the tenant that holds as many units as the window allows; each dispatch
// holds one of them until the window has passed, as in TigerBeetle's recipe for rate limiting.
void apply_rates(std::span<const RateLine> rates, Ledger& ledger,
                 const std::function<void(uint64_t, HoldId)>& held) {
  for (const RateLine& line : rates) {
    const UnitId unit = ledger.apply_unit(line.unit);
    const AccountIndex account = ledger.account_find(line.tenant, unit);
    const uint64_t issued =
        account == index_none ? 0 : uint64_t(ledger.account(account).credits_posted);
    if (issued < line.count) ledger.apply_fund(line.tenant, line.count - issued, unit);
    held(line.expires_ns, ledger.apply_hold(line.tenant, 1, unit, line.expires_ns));
  }
}

}  // namespace hanse
