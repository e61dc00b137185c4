#include "latent/wire.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/bytes.hpp"

namespace hanse {

std::vector<uint8_t> encode_share(const WireShare& share, const Digest& ticket) {
  ByteWriter writer;
  writer.put(wire_magic);
  writer.put(share.slot);
  writer.put(share.generation);
  writer.put(share.lease_ns);
  writer.put(share.tokens);
  writer.put(share.position_base);
  write_spec(writer, share.spec);
  writer.put(uint32_t(share.runs.size()));
  for (const WireRun& run : share.runs) {
    writer.put(run.file);
    writer.put(run.offset);
    writer.put(run.stride);
    for (const uint32_t value : {run.capacity, run.first, run.count, run.repeat}) writer.put(value);
  }
  writer.put(uint32_t(share.files.size()));
  for (const WireFile& file : share.files) {
    writer.put(file.number);
    writer.put(file.size_bytes);
  }
  writer.put_digest(hmac_sha256(ticket, writer.bytes()));
  return {writer.bytes().begin(), writer.bytes().end()};
}

namespace {

[[noreturn]] void corrupt(const char* what) {
  throw Error(ErrorCode::latent_corrupt, "message", what);
}

std::vector<uint8_t> signed_by(ByteWriter& writer, const Digest& ticket) {
  writer.put_digest(hmac_sha256(ticket, writer.bytes()));
  return {writer.bytes().begin(), writer.bytes().end()};
}

// What was signed.
Bytes checked(Bytes message, const Digest& ticket) {
  if (message.size() < sizeof(Digest)) corrupt("it is cut off");
  const Bytes body = message.first(message.size() - sizeof(Digest));
  Digest mac;
  std::memcpy(mac.data(), message.data() + body.size(), mac.size());
  if (!same_digest(mac, hmac_sha256(ticket, body))) corrupt("it was not made with this ticket");
  return body;
}

}  // namespace

uint64_t wire_kind(Bytes message) {
  uint64_t magic = 0;
  if (message.size() >= sizeof(magic)) std::memcpy(&magic, message.data(), sizeof(magic));
  return magic;
}

std::vector<uint8_t> encode_put(const WirePut& put, const Digest& ticket) {
  ByteWriter writer;
  writer.put(wire_put_magic);
  writer.put(put.request);
  write_spec(writer, put.spec);
  writer.put(put.tokens);
  writer.put(put.position_base);
  for (const uint64_t value : {put.ttl_ns, put.label, put.price, put.step, put.cost})
    writer.put(value);
  writer.put(uint8_t(put.gloss.has_value()));
  if (put.gloss) writer.put_text(*put.gloss);
  writer.put(uint8_t(put.named));
  writer.put(uint8_t(put.kept));
  return signed_by(writer, ticket);
}

WirePut decode_put(Bytes message, const Digest& ticket) {
  ByteReader reader(checked(message, ticket));
  WirePut put;
  if (reader.get<uint64_t>() != wire_put_magic) corrupt("it is of another version");
  put.request = reader.get<uint64_t>();
  put.spec = read_spec(reader);
  put.tokens = reader.get<uint32_t>();
  put.position_base = reader.get<uint32_t>();
  for (uint64_t* value : {&put.ttl_ns, &put.label, &put.price, &put.step, &put.cost})
    *value = reader.get<uint64_t>();
  if (reader.get<uint8_t>() != 0) put.gloss = std::string(reader.get_text());
  put.named = reader.get<uint8_t>() != 0;
  put.kept = reader.get<uint8_t>() != 0;
  reader.expect_end();
  return put;
}

std::vector<uint8_t> encode_answer(const WireAnswer& answer, const Digest& ticket) {
  ByteWriter writer;
  writer.put(wire_answer_magic);
  writer.put(answer.request);
  writer.put(answer.latent);
  writer.put(answer.code);
  writer.put_text(answer.field);
  writer.put_text(answer.detail);
  return signed_by(writer, ticket);
}

WireAnswer decode_answer(Bytes message, const Digest& ticket) {
  ByteReader reader(checked(message, ticket));
  WireAnswer answer;
  if (reader.get<uint64_t>() != wire_answer_magic) corrupt("it is of another version");
  answer.request = reader.get<uint64_t>();
  answer.latent = reader.get<LatentId>();
  answer.code = reader.get<ErrorCode>();
  answer.field = reader.get_text();
  answer.detail = reader.get_text();
  reader.expect_end();
  const ErrorCodeTable codes = error_code_table();
  if (std::none_of(codes.rows, codes.rows + codes.count,
                   [&](const ErrorCodeInfo& known) { return known.code == answer.code; }))
    corrupt("its error is none");
  return answer;
}

WireShare decode_share(Bytes message, const Digest& ticket) {
  ByteReader reader(checked(message, ticket));
  WireShare share;
  if (reader.get<uint64_t>() != wire_magic) corrupt("it is of another version");
  share.slot = reader.get<uint32_t>();
  share.generation = reader.get<uint64_t>();
  share.lease_ns = reader.get<uint64_t>();
  share.tokens = reader.get<uint32_t>();
  share.position_base = reader.get<uint32_t>();
  share.spec = read_spec(reader);
  share.runs.resize(reader.get_count(36));
  for (WireRun& run : share.runs) {
    run.file = reader.get<uint32_t>();
    run.offset = reader.get<uint64_t>();
    run.stride = reader.get<uint64_t>();
    for (uint32_t* value : {&run.capacity, &run.first, &run.count, &run.repeat})
      *value = reader.get<uint32_t>();
  }
  share.files.resize(reader.get_count(12));
  for (WireFile& file : share.files) {
    file.number = reader.get<uint32_t>();
    file.size_bytes = reader.get<uint64_t>();
  }
  if (share.slot >= control_slots) corrupt("its slot is out of range");
  return share;
}

Digest hello_proof(const WireHello& hello, const Digest& ticket) {
  return hmac_sha256(ticket,
                     {reinterpret_cast<const uint8_t*>(&hello), offsetof(WireHello, proof)});
}

long send_message(int socket, Bytes message, const std::vector<int>& files) {
  iovec part{const_cast<uint8_t*>(message.data()), message.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * wire_files_max)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!files.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * files.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * files.size());
    std::memcpy(CMSG_DATA(rights), files.data(), sizeof(int) * files.size());
  }
  return sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

long receive_message(int socket, std::vector<uint8_t>& buffer, std::vector<int>& files_out,
                     bool waits) {
  buffer.resize(wire_size_max);
  iovec part{buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * wire_files_max)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  const long size = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (waits ? 0 : MSG_DONTWAIT));
  if (size < 0) return size;
  for (cmsghdr* rights = CMSG_FIRSTHDR(&header); rights; rights = CMSG_NXTHDR(&header, rights)) {
    if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const size_t before = files_out.size();
    files_out.resize(before + count);
    std::memcpy(files_out.data() + before, CMSG_DATA(rights), count * sizeof(int));
  }
  buffer.resize(size_t(size));
  return size;
}

int sealed_copy(Bytes content) {
  const int file = memfd_create("hanse-latent", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return -1;
  for (size_t at = 0; at < content.size();) {
    const long wrote = write(file, content.data() + at, content.size() - at);
    if (wrote <= 0) {
      close(file);
      return -1;
    }
    at += size_t(wrote);
  }
  if (fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
    return file;
  close(file);
  return -1;
}

void* map_frozen(int file, uint64_t size_bytes) {
  constexpr int frozen = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  const int seals = fcntl(file, F_GET_SEALS);
  return seals >= 0 && (seals & frozen) == frozen ? map_sealed(file, size_bytes) : nullptr;
}

void* map_sealed(int file, uint64_t size_bytes) {
  struct stat about;
  const int seals = fcntl(file, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(file, &about) != 0 ||
      uint64_t(about.st_size) < size_bytes)
    return nullptr;
  void* mapped = mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file, 0);
  return mapped == MAP_FAILED ? nullptr : mapped;
}

}  // namespace hanse
