#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

extern "C" {

hanse_status hanse_fund(hanse_kernel* kernel, hanse_id actor, hanse_id agent, uint64_t amount,
                        const char* unit, uint64_t* position_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const Position position =
        in.fund(actor_of(in, actor), agent, amount, text_or(unit, "usd_micro"));
    if (position_out != nullptr) *position_out = position;
    return 0;
  });
}

hanse_status hanse_balance(hanse_kernel* kernel, hanse_id actor, hanse_id agent, const char* unit,
                           uint64_t* available_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    uint64_t& out = required(available_out, "available_out");
    const UnitId id = in.unit(text_or(unit, "usd_micro"));
    const AccountInfo account = in.account(actor_of(in, actor), agent, id);
    const u128 debits = account.debits_posted + account.debits_pending;
    // Without a limit on its debits an account may owe.
    const u128 available = debits < account.credits_posted ? account.credits_posted - debits : 0;
    if (available > UINT64_MAX)
      throw Error(ErrorCode::amount_overflow, "available", "does not fit 64 bits", agent);
    out = uint64_t(available);
    return 0;
  });
}

}  // extern "C"
