// corpgrid-runner: what runs as PID 1 in a sandbox that Session made, and runs its shards. Small
// and static: all shards of the sandbox are its children.

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "runner/inside/scratch.h"
#include "runner/inside/seccomp.h"
#include "runner/inside/setup.h"
#include "runner/inside/shard.h"
#include "runner/inside/streams.h"
#include "runner/inside/system.h"
#include "runner/protocol.h"

namespace corpgrid::runner::inside {
namespace {

char packet[protocol::kMaxPacketBytes + sizeof(protocol::RunRequest)];

// The next packet. Ends the runner when the host is gone.
std::string_view Receive(int control) {
  for (;;) {
    ssize_t n = recv(control, packet, sizeof packet, MSG_TRUNC);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(0);
    if (n > static_cast<ssize_t>(sizeof packet)) Die("a packet is too large", EMSGSIZE);
    return {packet, static_cast<size_t>(n)};
  }
}

void SendHello(int control, int work_fd) {
  protocol::Hello hello;
  iovec data = {&hello, sizeof hello};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(rights), &work_fd, sizeof work_fd);
  Require(sendmsg(control, &message, MSG_NOSIGNAL) == sizeof hello, "greeting");
}

[[noreturn]] void Main() {
  Require(getpid() == 1, "run by hand: it is started by Session");
  Harden();
  KeepComplaints();
  // Away from the numbers that shards inherit.
  int control = fcntl(protocol::kControlFd, F_DUPFD_CLOEXEC, 10);
  int log = fcntl(protocol::kLogFd, F_DUPFD_CLOEXEC, 10);
  Require(control >= 0 && log >= 0, "file descriptors");
  close(protocol::kControlFd);
  close(protocol::kLogFd);
  Streams streams(log);  // first, before anything opened gets one of its numbers

  std::string_view first = Receive(control);
  protocol::Setup setup;
  if (first.size() != sizeof setup) Die("malformed setup", EPROTO);
  memcpy(&setup, first.data(), sizeof setup);

  Scratch scratch(setup.disk_bytes);
  FinishRoot();
  LimitResources(setup.processes);
  DropCapabilities();
  Require(chdir("/work") == 0, "/work");
  InstallFilter();
  ShardRunner shards(setup, control, &scratch, &streams);
  SendHello(control, scratch.work_fd());

  for (;;) {
    std::string_view request = Receive(control);
    protocol::Kind kind;
    if (request.size() < sizeof kind) Die("malformed packet", EPROTO);
    memcpy(&kind, request.data(), sizeof kind);
    if (kind != protocol::Kind::kRun) continue;  // its shard has just ended
    protocol::RunReply reply = shards.Run(request);
    if (send(control, &reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply) _exit(0);
  }
}

}  // namespace
}  // namespace corpgrid::runner::inside

int main() { corpgrid::runner::inside::Main(); }
