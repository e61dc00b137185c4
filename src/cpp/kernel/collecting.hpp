// Extents that nothing names any more: removed when the records that named them were dropped.
#pragma once

#include "kernel/kernel.hpp"

namespace hanse {

// What is removed is named neither by a record that is kept, nor by the state as of what is on
// disk, nor by a command on its way. Reads the log that is kept. Where the process dies on the way,
// the rest is removed next time. Counts into `info`.
void collect_extents(Kernel::Inner& in, CompactionInfo& info);

}  // namespace hanse
