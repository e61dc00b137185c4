#include "latent/latent.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "latent_fixture.hpp"

namespace hanse {
namespace {

TEST_F(LatentTest, what_was_put_is_read_back_for_each_dtype_and_odd_lengths) {
  for (const LatentDtype dtype :
       {LatentDtype::float32, LatentDtype::float16, LatentDtype::bfloat16, LatentDtype::int8}) {
    spec = small_spec(dtype);
    for (const uint32_t count : {1u, 15u, 16u, 17u, 1000u}) {
      const LatentId latent = put(count, count);
      EXPECT_EQ(read(latent), made_up(token_bytes(spec) * count, count));
      EXPECT_EQ(pool->status().page_bytes_used, (count + 15) / 16 * page_bytes());
      pool->release(latent);
      EXPECT_EQ(pool->status().page_bytes_used, 0u);
    }
  }
}

TEST_F(LatentTest, a_page_is_layers_by_two_by_sixteen_tokens_by_heads_by_dim) {
  const LatentId latent = put(20, 7);
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * 20, 7);
  const std::vector<Bytes> pages = pool->pages(latent, latent_owner, latent_tenant);
  ASSERT_EQ(pages.size(), 2u);
  const size_t row = size_t(spec.kv_heads) * spec.head_dim * 4;
  for (size_t plane = 0; plane < 6; ++plane)
    for (size_t token = 0; token < 32; ++token) {
      ASSERT_EQ(pages[token / 16].size(), page_bytes());
      const uint8_t* at = pages[token / 16].data() + (plane * 16 + token % 16) * row;
      if (token < 20) {
        ASSERT_TRUE(std::equal(at, at + row, kv.begin() + ptrdiff_t((plane * 20 + token) * row)));
      } else {
        ASSERT_TRUE(std::all_of(at, at + row, [](uint8_t byte) { return byte == 0; }));
      }
    }
}

TEST_F(LatentTest, sixty_four_readers_add_no_page_and_the_last_release_frees_all) {
  const LatentId first = put(1000, 1);
  const uint64_t used = pool->status().page_bytes_used, memory = pool->memory_bytes();
  std::vector<LatentId> readers;
  for (int i = 0; i < 64; ++i)
    readers.push_back(pool->fork(first, make_id(uint32_t(100 + i), 1), latent_tenant));
  EXPECT_EQ(pool->status().page_bytes_used, used);
  EXPECT_LE(pool->memory_bytes() - memory, 64u * 256);
  EXPECT_EQ(pool->status().handle_count, 65u);
  EXPECT_EQ(info(first).readers, 64u);

  pool->release(first);
  for (const LatentId reader : readers) {
    EXPECT_EQ(pool->status().page_bytes_used, used);
    EXPECT_EQ(read(reader), made_up(token_bytes(spec) * 1000, 1));
    pool->release(reader);
  }
  EXPECT_EQ(pool->status().page_bytes_used, 0u);
  EXPECT_EQ(pool->status().page_count, 0u);
  EXPECT_EQ(pool->status().handle_count, 0u);
}

// 36 layers of 8 heads of 128 in half precision: 147,456 bytes a token.
TEST_F(LatentTest, a_thousand_tokens_of_a_large_model_are_held_once_for_64_readers) {
  spec.layers = 36;
  spec.kv_heads = 8;
  spec.head_dim = 128;
  spec.dtype = LatentDtype::float16;
  std::vector<uint8_t> kv(147'456'000);
  for (size_t i = 0; i < kv.size(); i += 509) kv[i] = uint8_t(i / 509 * 31);
  const LatentId latent = pool->put(latent_owner, latent_tenant, spec, kv, 1000, {}, 1, 4096, 0);
  EXPECT_EQ(info(latent).size_bytes, 147'456'000u);
  const uint64_t page = 147'456 * 16, memory = pool->memory_bytes();
  EXPECT_LE(pool->status().page_bytes_used, 147'456'000 + page);
  std::vector<LatentId> readers;
  for (int i = 0; i < 64; ++i) readers.push_back(pool->fork(latent, latent_owner, latent_tenant));
  EXPECT_LE(pool->memory_bytes(), memory + page + 64 * 256);
  pool->release(latent);
  EXPECT_TRUE(read(readers[63]) == kv);
  for (const LatentId reader : readers) pool->release(reader);
  EXPECT_EQ(pool->status().page_bytes_used, 0u);
}

TEST_F(LatentTest, the_first_append_takes_the_room_of_the_last_page_and_the_next_one_copies_it) {
  for (const uint32_t old_count : {1u, 15u, 16u, 17u, 40u, 48u}) {
    for (const uint32_t more : {1u, 15u, 16u, 17u, 33u}) {
      const LatentId old = put(old_count, 1);
      const uint64_t before = pool->status().page_count;
      const uint32_t whole = (old_count + more + 15) / 16;
      const LatentId longer = append(old, more, 2, old_count);
      EXPECT_EQ(pool->status().page_count - before, whole - (old_count + 15) / 16);
      const LatentId other = append(old, more, 3, old_count);
      EXPECT_EQ(pool->status().page_count - before,
                whole - (old_count + 15) / 16 + whole - old_count / 16);
      const std::vector<uint8_t> a = made_up(token_bytes(spec) * old_count, 1);
      const std::vector<uint8_t> b = made_up(token_bytes(spec) * more, 2);
      EXPECT_EQ(read(old), a);
      EXPECT_EQ(read(longer), joined(spec, a, b));
      EXPECT_EQ(read(other), joined(spec, a, made_up(token_bytes(spec) * more, 3)));
      EXPECT_EQ(info(longer).parent, info(old).content);
      pool->release(old);
      EXPECT_EQ(read(longer), joined(spec, a, b));
      pool->release(longer);
      pool->release(other);
      EXPECT_EQ(pool->status().page_count, 0u);
    }
  }
}

TEST_F(LatentTest, append_anywhere_but_at_the_end_is_a_position_overlap) {
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * 20, 1);
  const LatentId latent = pool->put(latent_owner, latent_tenant, spec, kv, 20, {}, 0, 100, 0);
  for (const uint32_t position : {20u, 119u, 121u, 0u}) {
    const Error error = error_of([&] { append(latent, 1, 2, position); });
    EXPECT_EQ(error.code(), ErrorCode::position_overlap);
    EXPECT_EQ(error.field(), "position");
  }
  EXPECT_EQ(pool->status().handle_count, 1u);
  const LatentId longer = append(latent, 1, 2, 120);
  EXPECT_EQ(info(longer).position_base, 100u);
  EXPECT_EQ(info(longer).tokens, 21u);
}

TEST_F(LatentTest, a_slice_is_the_first_tokens_and_adds_no_page) {
  const LatentId latent = put(50, 1);
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * 50, 1);
  for (const uint32_t count : {1u, 16u, 31u, 50u}) {
    const LatentId slice = pool->slice(latent, latent_owner, latent_tenant, count);
    EXPECT_EQ(pool->status().page_count, 4u);
    EXPECT_EQ(read(slice), first_tokens(spec, kv, count));
    EXPECT_EQ(info(slice).size_bytes, token_bytes(spec) * count);
    pool->release(slice);
  }
  // A slice ends inside a page that holds more: appending must not touch the others' tokens.
  const LatentId slice = pool->slice(latent, latent_owner, latent_tenant, 20);
  const LatentId branch = append(slice, 3, 9, 20);
  EXPECT_EQ(read(latent), kv);
  EXPECT_EQ(read(branch),
            joined(spec, first_tokens(spec, kv, 20), made_up(token_bytes(spec) * 3, 9)));
  pool->release(latent);
  EXPECT_EQ(pool->status().page_count, 3u);
  EXPECT_EQ(read(slice), first_tokens(spec, kv, 20));

  EXPECT_EQ(error_of([&] { pool->slice(slice, latent_owner, latent_tenant, 0); }).code(),
            ErrorCode::empty);
  EXPECT_EQ(error_of([&] { pool->slice(slice, latent_owner, latent_tenant, 21); }).code(),
            ErrorCode::out_of_range);
}

TEST_F(LatentTest, a_full_pool_refuses_and_nothing_has_changed) {
  open(10 * page_bytes(), 4);
  const LatentId first = put(8 * 16, 1);
  const LatentPoolStatus before = pool->status();
  const auto unchanged = [&] {
    EXPECT_EQ(pool->status().page_bytes_used, before.page_bytes_used);
    EXPECT_EQ(pool->status().handle_count, before.handle_count);
    EXPECT_EQ(read(first), made_up(token_bytes(spec) * 128, 1));
  };
  EXPECT_EQ(error_of([&] { put(33, 2); }).code(), ErrorCode::quota_exceeded);
  unchanged();
  EXPECT_EQ(error_of([&] { append(first, 33, 2, 128); }).code(), ErrorCode::quota_exceeded);
  unchanged();
  const LatentId longer = append(first, 32, 2, 128);
  EXPECT_EQ(pool->status().page_bytes_used, 10 * page_bytes());
  EXPECT_EQ(error_of([&] { put(1, 3); }).code(), ErrorCode::quota_exceeded);
  pool->fork(longer, latent_owner, latent_tenant);
  pool->fork(longer, latent_owner, latent_tenant);
  EXPECT_EQ(error_of([&] { pool->fork(first, latent_owner, latent_tenant); }).code(),
            ErrorCode::quota_exceeded);
  pool->release(longer);
  pool->release(first);
  EXPECT_EQ(pool->status().page_bytes_used, 10 * page_bytes());
}

TEST_F(LatentTest, free_memory_of_one_page_size_serves_another) {
  open(uint64_t(4) << 20);
  for (uint32_t layers = 1; layers <= 64; layers *= 2) {
    spec.layers = layers;
    const auto count = uint32_t((uint64_t(4) << 20) / page_bytes() * 16);
    const LatentId latent = put(count, layers);
    EXPECT_EQ(read(latent), made_up(token_bytes(spec) * count, layers));
    EXPECT_LE(pool->memory_bytes(), (uint64_t(4) << 20) + (2 << 20));
    pool->release(latent);
  }
}

TEST_F(LatentTest, a_freed_page_comes_back_zeroed) {
  pool->release(put(64, 1));
  const LatentId latent = put(1, 2);
  const Bytes page = pool->pages(latent, latent_owner, latent_tenant).at(0);
  size_t set = 0;
  for (const uint8_t byte : page) set += byte != 0;
  EXPECT_LE(set, token_bytes(spec));
}

TEST_F(LatentTest, a_released_handle_is_unknown_even_when_its_place_is_used_again) {
  const LatentId first = put(1, 1);
  pool->release(first);
  const LatentId second = put(1, 2);
  EXPECT_EQ(index_of(first), index_of(second));
  EXPECT_NE(first, second);
  for (const LatentId unknown : {first, id_none, make_id(77, 1), make_id(index_of(second), 9)}) {
    EXPECT_EQ(error_of([&] { info(unknown); }).code(), ErrorCode::unknown_latent);
    EXPECT_EQ(error_of([&] { read(unknown); }).code(), ErrorCode::unknown_latent);
    EXPECT_EQ(error_of([&] { pool->release(unknown); }).code(), ErrorCode::unknown_latent);
    EXPECT_EQ(error_of([&] { pool->grant(unknown, 1); }).code(), ErrorCode::unknown_latent);
    EXPECT_EQ(error_of([&] { pool->fork(unknown, 1, latent_tenant); }).code(),
              ErrorCode::unknown_latent);
    EXPECT_EQ(error_of([&] { pool->pages(unknown, 1, latent_tenant); }).code(),
              ErrorCode::unknown_latent);
  }
  EXPECT_EQ(pool->status().handle_count, 1u);
}

TEST_F(LatentTest, a_foreign_tenants_latent_looks_like_a_released_one) {
  const LatentId latent = put(4, 1), gone = put(4, 2);
  pool->release(gone);
  const AgentId stranger = make_id(9, 1);
  const auto message = [&](LatentId id) {
    std::string what = error_of([&] { pool->info(id, stranger, 8); }).what();
    return what.substr(0, what.find("(id"));
  };
  EXPECT_EQ(message(latent), message(gone));
  std::vector<uint8_t> out(token_bytes(spec) * 4);
  const std::vector<uint8_t> kv = made_up(token_bytes(spec), 1);
  for (const auto& call : std::vector<std::function<void()>>{
           [&] { pool->read_into(latent, stranger, 8, nullptr, out); },
           [&] { pool->fork(latent, stranger, 8); }, [&] { pool->slice(latent, stranger, 8, 1); },
           [&] { pool->pages(latent, stranger, 8); },
           [&] { pool->append(latent, stranger, 8, kv, 1, {}, 0, 4); }})
    EXPECT_EQ(error_of(call).code(), ErrorCode::unknown_latent);

  EXPECT_EQ(read(latent, 0), made_up(token_bytes(spec) * 4, 1));  // The root sees all.
  pool->grant(latent, stranger);
  pool->grant(latent, stranger);
  EXPECT_EQ(info(latent).readers, 1u);
  pool->read_into(latent, stranger, 8, nullptr, out);
  EXPECT_EQ(out, made_up(token_bytes(spec) * 4, 1));
  EXPECT_EQ(error_of([&] { pool->info(latent, make_id(10, 1), 8); }).code(),
            ErrorCode::unknown_latent);
  const LatentId fork = pool->fork(latent, stranger, 8);
  pool->release(latent);
  EXPECT_EQ(pool->info(fork, stranger, 8).tenant, 8u);
}

TEST_F(LatentTest, an_ended_lease_forbids_everything_but_release) {
  const LatentId latent = put(20, 1, {}, 2000);
  const LatentId fork = pool->fork(latent, latent_owner, latent_tenant);
  const LatentId slice = pool->slice(latent, latent_owner, latent_tenant, 3);
  const LatentId longer = append(latent, 3, 2, 20);
  clock->set(1999);
  EXPECT_EQ(info(latent).lease_ns, 2000u);
  clock->set(2000);
  for (const LatentId id : {latent, fork, slice, longer}) {
    EXPECT_EQ(error_of([&] { info(id); }).code(), ErrorCode::lease_expired);
    EXPECT_EQ(
        error_of([&] { pool->read_into(id, latent_owner, latent_tenant, nullptr, {}); }).code(),
        ErrorCode::lease_expired);
    EXPECT_EQ(error_of([&] { pool->fork(id, latent_owner, latent_tenant); }).code(),
              ErrorCode::lease_expired);
    EXPECT_EQ(error_of([&] { append(id, 1, 3, 20); }).code(), ErrorCode::lease_expired);
    // A stranger learns nothing of the lease.
    EXPECT_EQ(error_of([&] { pool->info(id, latent_owner, 8); }).code(), ErrorCode::unknown_latent);
    pool->release(id);
  }
  EXPECT_EQ(pool->status().page_bytes_used, 0u);
  EXPECT_EQ(error_of([&] { put(1, 1, {}, 2000); }).code(), ErrorCode::lease_expired);
}

TEST_F(LatentTest, an_incompatible_spec_is_refused_by_the_name_of_its_field) {
  const LatentId latent = put(4, 1);
  std::vector<uint8_t> out(token_bytes(spec) * 4);
  const auto refused = [&](const char* field, const std::string& detail, auto change) {
    LatentSpec want = spec;
    change(want);
    const Error error =
        error_of([&] { pool->read_into(latent, latent_owner, latent_tenant, &want, out); });
    EXPECT_EQ(error.code(), ErrorCode::latent_incompatible);
    EXPECT_EQ(error.field(), field);
    EXPECT_EQ(error.detail(), detail);
    EXPECT_NE(latent_fingerprint(want), latent_fingerprint(spec));
  };
  refused("model", "want org/model@2, have org/model@1",
          [](LatentSpec& want) { want.model = "org/model@2"; });
  refused("tokenizer", "want abc, have ", [](LatentSpec& want) { want.tokenizer = "abc"; });
  refused("layers", "want 4, have 3", [](LatentSpec& want) { want.layers = 4; });
  refused("kv_heads", "want 1, have 2", [](LatentSpec& want) { want.kv_heads = 1; });
  refused("head_dim", "want 64, have 8", [](LatentSpec& want) { want.head_dim = 64; });
  refused("dtype", "want int8, have float32",
          [](LatentSpec& want) { want.dtype = LatentDtype::int8; });
  refused("rope_base_micro", "want 5, have 0", [](LatentSpec& want) { want.rope_base_micro = 5; });
  pool->read_into(latent, latent_owner, latent_tenant, &spec, out);
  EXPECT_EQ(out, made_up(token_bytes(spec) * 4, 1));
}

TEST_F(LatentTest, wrong_sizes_and_impossible_specs_are_refused) {
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * 4, 1);
  const std::vector<uint32_t> three = token_run(3);
  const auto put_with = [&](const LatentSpec& wanted, uint32_t count,
                            std::span<const uint32_t> tokens, uint32_t base) {
    return error_of([&] {
             pool->put(latent_owner, latent_tenant, wanted, kv, count, tokens, 0, base, 0);
           })
        .code();
  };
  EXPECT_EQ(put_with(spec, 5, {}, 0), ErrorCode::dimension_mismatch);
  EXPECT_EQ(put_with(spec, 3, {}, 0), ErrorCode::dimension_mismatch);
  EXPECT_EQ(put_with(spec, UINT32_MAX, {}, 0), ErrorCode::dimension_mismatch);
  EXPECT_EQ(put_with(spec, 4, three, 0), ErrorCode::dimension_mismatch);
  EXPECT_EQ(put_with(spec, 0, {}, 0), ErrorCode::empty);
  EXPECT_EQ(put_with(spec, 4, {}, UINT32_MAX - 3), ErrorCode::out_of_range);
  for (uint32_t LatentSpec::* field :
       {&LatentSpec::layers, &LatentSpec::kv_heads, &LatentSpec::head_dim}) {
    LatentSpec none = spec, huge = spec;
    none.*field = 0;
    huge.*field = 1u << 17;
    EXPECT_EQ(put_with(none, 4, {}, 0), ErrorCode::out_of_range);
    EXPECT_EQ(put_with(huge, 4, {}, 0), ErrorCode::out_of_range);
  }
  LatentSpec other = spec;
  other.dtype = LatentDtype(9);
  EXPECT_EQ(put_with(other, 4, {}, 0), ErrorCode::out_of_range);

  const LatentId latent = put(4, 1);
  std::vector<uint8_t> out(kv.size() + 1);
  EXPECT_EQ(
      error_of([&] { pool->read_into(latent, latent_owner, latent_tenant, nullptr, out); }).code(),
      ErrorCode::dimension_mismatch);
  EXPECT_EQ(error_of([&] {
              pool->append(latent, latent_owner, latent_tenant, Bytes(kv).first(7), 1, {}, 0, 4);
            }).code(),
            ErrorCode::dimension_mismatch);
  EXPECT_EQ(pool->status().handle_count, 1u);
}

TEST_F(LatentTest, the_content_id_depends_on_the_tokens_and_not_on_the_bytes) {
  const std::vector<uint32_t> tokens = token_run(20), others = token_run(20, 1);
  const Digest content = info(put(20, 1, tokens)).content;
  EXPECT_EQ(info(put(20, 2, tokens)).content, content);
  EXPECT_NE(info(put(20, 1, others)).content, content);
  EXPECT_NE(info(put(20, 1)).content, content);
  EXPECT_NE(info(put(20, 1)).content, info(put(20, 2)).content);  // (producer, step)
  EXPECT_EQ(info(put(20, 3)).content, info(put(20, 3)).content);

  const LatentId latent = put(20, 1, tokens);
  EXPECT_EQ(info(pool->fork(latent, make_id(6, 1), latent_tenant)).content, content);
  const Digest slice = info(pool->slice(latent, latent_owner, latent_tenant, 19)).content;
  EXPECT_NE(slice, content);
  EXPECT_EQ(info(pool->slice(latent, latent_owner, latent_tenant, 19)).content, slice);

  LatentPool other_kernel({}, clock, 43);
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * 20, 1);
  const LatentId same =
      other_kernel.put(latent_owner, latent_tenant, spec, kv, 20, tokens, 0, 0, 0);
  EXPECT_NE(other_kernel.info(same, latent_owner, latent_tenant).content, content);
}

}  // namespace
}  // namespace hanse
