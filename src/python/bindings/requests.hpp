// The requests of one kernel as Python sees them: a Reply for each that waits. Guarded by the GIL.
#pragma once

#include "handle.hpp"
#include "mailbox/requests.hpp"

namespace hanse::python {

struct ReplyObject;

// Lives as long as its kernel, any Reply, or any message that is a request.
class RequestCentre {
 public:
  explicit RequestCentre(const RequestOptions& options) : table(options) {}
  void retain() { ++references_; }
  void release() {
    if (--references_ == 0) delete this;
  }

  // A new Reply for a request that was opened.
  py::object reply_for(uint64_t number, AgentId to, py::handle loop);
  // Ends a request and its Reply: `value` is bytes, or an exception for any other end than a reply.
  // False: it did not wait any more.
  bool settle(uint64_t number, RequestEnd how, py::object value);
  // The Replies of what the table has ended by itself.
  void settle_ended(const std::vector<EndedRequest>& ended, const char* why);
  // Of the caller's kernel; for those of revoked agents and of a closed kernel.
  py::list waiting() const;

  RequestTable table;
  KernelHandle* handle = nullptr;  // null: it is gone

 private:
  ~RequestCentre() = default;
  ReplyObject* taken(uint64_t number);

  std::vector<ReplyObject*> replies_;  // by place: a reference each
  size_t references_ = 1;
};

// The exception that an Error becomes.
py::object exception_of(const Error& error);
py::object exception_for(RequestEnd end, const char* why, AgentId to);

// Ends a request and all below it as cancelled, and takes their messages out of the boxes.
void cancel_request(KernelHandle& handle, uint64_t number);

}  // namespace hanse::python
