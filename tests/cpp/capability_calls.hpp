// What the tests of this concept share: a small way to publish and search, and how to expect an
// error.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "capability/capability.hpp"

namespace hanse {

struct Found {
  std::vector<Match> matches;
  std::vector<int32_t> counts;
};

inline Found search(const CapabilityStore& store, const std::vector<float>& queries, uint32_t dim,
                    std::span<const Feasible> feasible, uint32_t k, uint32_t threads = 1) {
  const size_t m = queries.size() / dim;
  Found found{std::vector<Match>(m * k), std::vector<int32_t>(m, -1)};
  store.search(0, {queries.data(), m, dim}, feasible, k, {found.matches.data(), m, k}, found.counts,
               threads);
  return found;
}

// One offer a row with plain attributes.
struct Plain {
  explicit Plain(std::vector<uint32_t> a, std::vector<float> v, uint32_t d)
      : agents(std::move(a)), vectors(std::move(v)), dim(d) {}
  operator Offers() const {
    return {agents,   offer,         {vectors.data(), dim == 0 ? 0 : vectors.size() / dim, dim},
            {price},  {tier},        {skills},
            {region}, {policy_bits}, {slots}};
  }
  std::vector<uint32_t> agents;
  std::vector<float> vectors;
  uint32_t dim;
  uint32_t offer = 0;
  std::vector<int64_t> price{0};
  std::vector<uint8_t> tier{0};
  std::vector<uint64_t> skills{0}, policy_bits{0};
  std::vector<uint16_t> region{0}, slots{0};
};

inline uint32_t no_tenant(uint32_t) { return 0; }

inline void publish(CapabilityStore& store, const Offers& offers,
                    std::span<const uint32_t> expected = {}) {
  store.check_publish(0, offers, expected);
  store.apply_publish(0, offers, expected, no_tenant, {});
}

template <class Call>
void expect_error(ErrorCode code, const std::string& field, const std::string& part, Call&& call) {
  try {
    call();
    FAIL() << "no error where " << field << " is at fault";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(error.field(), field) << error.what();
    EXPECT_NE(error.detail().find(part), std::string::npos) << error.what();
  }
}

}  // namespace hanse
