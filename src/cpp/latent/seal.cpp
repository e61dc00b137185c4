#include "latent/seal.hpp"

#include "base/bytes.hpp"
#include "base/hmac.hpp"
#include "latent/state.hpp"
#include "latent/transform_table.hpp"

namespace hanse {

namespace {

constexpr uint64_t sealed_magic = 0x3176'746c'6573'6e68;  // "hnseltv1"

constexpr uint8_t more_follows = 0x80;

[[noreturn]] void corrupt(const char* what) {
  throw Error(ErrorCode::latent_corrupt, "sealed", what);
}

std::vector<uint8_t> encode(const LatentSealed& sealed) {
  ByteWriter writer;
  writer.put(sealed_magic);
  writer.put(sealed.owner);
  writer.put(sealed.tenant);
  write_spec(writer, sealed.spec);
  writer.put(sealed.tokens);
  writer.put(sealed.position_base);
  for (const uint64_t value : {sealed.lease_ns, sealed.label, sealed.price, sealed.step})
    writer.put(value);
  writer.put(uint8_t(sealed.gloss.has_value()));
  if (sealed.gloss) writer.put_text(*sealed.gloss);
  for (const Digest* digest : {&sealed.content, &sealed.parent, &sealed.payload_digest})
    writer.put_digest(*digest);
  writer.put_bytes({reinterpret_cast<const uint8_t*>(sealed.token_ids.data()),
                    sealed.token_ids.size() * sizeof(uint32_t)});
  if (sealed.spec.quantised != 0) {
    writer.put(uint32_t(sealed.image.size()));
    for (const LatentImagePart& part : sealed.image)
      writer.put(part.first), writer.put(part.count), writer.put(uint8_t(part.packed));
  }
  return {writer.bytes().begin(), writer.bytes().end()};
}

// Parts that cover the tokens, each within its page.
void check_image(const LatentSealed& sealed) {
  uint64_t tokens = 0;
  for (const LatentImagePart& part : sealed.image) {
    if (part.count == 0 ||
        (part.packed ? uint64_t(part.first) + part.count > quantise_group_tokens : part.first != 0))
      corrupt("a part lies outside of its page");
    tokens += part.count;
  }
  if (tokens != sealed.tokens) corrupt("its parts are not its tokens");
}

LatentSealed decode(Bytes bytes) {
  ByteReader reader(bytes);
  LatentSealed sealed;
  if (reader.get<uint64_t>() != sealed_magic) corrupt("it is no sealed latent of this version");
  sealed.owner = reader.get<AgentId>();
  sealed.tenant = reader.get<uint32_t>();
  sealed.spec = read_spec(reader);
  sealed.tokens = reader.get<uint32_t>();
  sealed.position_base = reader.get<uint32_t>();
  for (uint64_t* value : {&sealed.lease_ns, &sealed.label, &sealed.price, &sealed.step})
    *value = reader.get<uint64_t>();
  if (reader.get<uint8_t>() != 0) sealed.gloss = std::string(reader.get_text());
  for (Digest* digest : {&sealed.content, &sealed.parent, &sealed.payload_digest})
    *digest = reader.get_digest();
  const Bytes ids = reader.get_bytes();
  sealed.token_ids.resize(ids.size() / sizeof(uint32_t));
  if (!ids.empty()) std::memcpy(sealed.token_ids.data(), ids.data(), ids.size());
  if (sealed.spec.quantised != 0) {
    sealed.image.resize(reader.get_count(9));
    for (LatentImagePart& part : sealed.image) {
      part.first = reader.get<uint32_t>();
      part.count = reader.get<uint32_t>();
      part.packed = reader.get<uint8_t>() != 0;
    }
    check_image(sealed);
  }
  reader.expect_end();
  return sealed;
}

}  // namespace

void write_spec(ByteWriter& writer, const LatentSpec& spec) {
  writer.put_text(spec.model);
  writer.put_text(spec.tokenizer);
  for (const uint32_t value :
       {spec.layers, spec.kv_heads, spec.head_dim, spec.rotary_dim, spec.position_max})
    writer.put(value);
  writer.put(spec.dtype);
  writer.put(spec.rope_base_micro);
  // The high bit says that there is more: what was sealed before still reads.
  writer.put(uint8_t(uint8_t(spec.kind) | (spec.quantised != 0 ? more_follows : 0)));
  writer.put(spec.order);
  writer.put(spec.rope_pairing);
  writer.put_text(spec.rope_scaling);
  if (spec.quantised != 0) writer.put(spec.quantised), writer.put(spec.recent);
}

LatentSpec read_spec(ByteReader& reader) {
  LatentSpec spec;
  spec.model = reader.get_text();
  spec.tokenizer = reader.get_text();
  for (uint32_t* value :
       {&spec.layers, &spec.kv_heads, &spec.head_dim, &spec.rotary_dim, &spec.position_max})
    *value = reader.get<uint32_t>();
  spec.dtype = reader.get<LatentDtype>();
  spec.rope_base_micro = reader.get<uint64_t>();
  const auto kind = reader.get<uint8_t>();
  spec.kind = LatentKind(kind & ~more_follows);
  spec.order = reader.get<LatentOrder>();
  spec.rope_pairing = reader.get<RopePairing>();
  spec.rope_scaling = reader.get_text();
  if ((kind & more_follows) != 0) {
    spec.quantised = reader.get<uint32_t>();
    spec.recent = reader.get<uint32_t>();
  }
  return spec;
}

std::vector<uint8_t> seal_latent(const LatentPool& pool, LatentId latent, AgentId reader,
                                 uint32_t reader_tenant, Bytes key) {
  const LatentInfo info = pool.info(latent, reader, reader_tenant);
  const LatentHold hold = pool.hold(latent, reader, reader_tenant);
  const LatentBody& body = hold.body();
  const LatentImage image = hold.layout().image_of(hold.pieces());
  std::vector<uint8_t> payload(hold.layout().image_bytes(image));
  hold.layout().write_image(hold.pieces(), payload);

  LatentSealed sealed;
  sealed.owner = info.owner;
  sealed.tenant = info.tenant;
  sealed.spec = info.spec;
  if (info.spec.quantised != 0) sealed.image = image;
  sealed.tokens = info.tokens;
  sealed.position_base = info.position_base;
  sealed.lease_ns = info.lease_ns;
  sealed.label = info.label;
  sealed.price = info.price;
  sealed.step = info.step;
  sealed.gloss = info.gloss;
  sealed.content = info.content;
  sealed.parent = info.parent;
  sealed.payload_digest = sha256(payload);
  if (body.run) sealed.token_ids.assign(body.run->ids.get(), body.run->ids.get() + body.tokens);

  const std::vector<uint8_t> manifest = encode(sealed);
  const Digest mac = hmac_sha256(key, manifest);
  ByteWriter writer;
  writer.put(uint32_t(manifest.size()));
  writer.put_raw(manifest);
  writer.put_digest(mac);
  std::vector<uint8_t> bytes(writer.bytes().begin(), writer.bytes().end());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

Unsealed unseal_latent(Bytes sealed, Bytes key) {
  Unsealed found;
  try {
    ByteReader reader(sealed);
    const Bytes manifest = reader.get_bytes();
    const Digest mac = reader.get_digest();
    if (!same_digest(mac, hmac_sha256(key, manifest))) corrupt("the manifest was altered");
    found.manifest = decode(manifest);
    found.payload = reader.get_raw(reader.remaining());
  } catch (const Error& error) {
    if (error.code() == ErrorCode::corrupt) corrupt("it is cut off");
    throw;
  }
  if (sha256(found.payload) != found.manifest.payload_digest) corrupt("the payload was altered");
  return found;
}

LatentId import_latent(LatentPool& pool, AgentId owner, uint32_t tenant, Bytes sealed, Bytes key) {
  const Unsealed found = unseal_latent(sealed, key);
  const LatentSealed& manifest = found.manifest;
  if (manifest.tenant != tenant) corrupt("it belongs to another tenant");
  const LatentLayout layout(manifest.spec);
  const LatentImage image =
      manifest.spec.quantised != 0 ? manifest.image : LatentImage{{0, manifest.tokens, false}};
  if (manifest.spec.quantised == 0)
    layout.check_size("payload", found.payload.size(), manifest.tokens);
  else if (found.payload.size() != layout.image_bytes(image))
    corrupt("its payload has another size");
  LatentTerms terms;
  terms.tokens = manifest.token_ids;
  terms.step = manifest.step;
  terms.position_base = manifest.position_base;
  terms.lease_ns = manifest.lease_ns;
  terms.label = manifest.label;
  terms.gloss = manifest.gloss;
  terms.price = manifest.price;
  return pool.put_image(owner, tenant, manifest.spec, image, found.payload, manifest.tokens, terms);
}

}  // namespace hanse
