// Bugs that are put in on purpose, one at a time, so that the tests can be tested: each place says
// its number, and tests/seeded_bugs.py what it breaks and what must notice. In every build but the
// one for that (HANSE_SEEDED_BUGS=ON) the macro is `false`, and nothing is left of it.
#pragma once

#ifdef HANSE_SEEDED_BUGS
namespace hanse {
unsigned seeded_bug();  // the number in the environment's HANSE_SEEDED_BUG; 0: none
}
#define HANSE_SEEDED_BUG(number) (::hanse::seeded_bug() == (number))
#else
#define HANSE_SEEDED_BUG(number) false
#endif
