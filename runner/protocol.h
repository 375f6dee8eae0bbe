#pragma once

#include <cstddef>
#include <cstdint>

// What Session and corpgrid-runner, two programs of one build, say to each other: packets of a
// SOCK_SEQPACKET pair that only these two hold, and a memory file for what flows all the time. The
// runner's side is not trusted: whatever it says is bounded by what the host checks.
namespace corpgrid::runner::protocol {

// File descriptors that the runner starts with. 2 takes its complaints until it is ready.
inline constexpr int kControlFd = 3;
inline constexpr int kLogFd = 4;

inline constexpr size_t kMaxPacketBytes = 128 << 10;
inline constexpr uint64_t kMaxLogBytes = 64 << 20;

// The first packet to the runner; Hello answers it, with the work folder as SCM_RIGHTS.
struct Setup {
  uint64_t disk_bytes = 0;
  uint64_t memory_bytes = 0;
  uint32_t processes = 0;
  uint32_t reserved = 0;
};

struct Hello {
  uint32_t ready = 1;
};

enum class Kind : uint32_t { kRun = 1, kCancel = 2, kStart = 3, kFreeze = 4, kThaw = 5 };

// Followed by argc + envc strings, each with its NUL.
struct RunRequest {
  Kind kind = Kind::kRun;
  uint32_t sequence = 0;  // of the shard in this session
  int64_t wall_ms = 0;
  uint64_t log_bytes = 0;
  uint32_t argc = 0;
  uint32_t envc = 0;
  uint32_t prepare = 0;  // 1: the work folder is emptied, and then a kStart awaited
  uint32_t reserved = 0;
};

struct CancelRequest {
  Kind kind = Kind::kCancel;
  uint32_t sequence = 0;  // a late one must not hit the next shard
  int64_t grace_ms = 0;
};

// kStart, kFreeze (stop all processes of the shard) or kThaw (let them run).
struct StepRequest {
  Kind kind = Kind::kStart;
  uint32_t sequence = 0;
};

// Answers kFreeze and kThaw; of kStart: the work folder is empty, and kStart is awaited.
struct StepReply {
  Kind kind = Kind::kStart;
  uint32_t sequence = 0;
  uint32_t done = 0;  // of kFreeze: they stand still; of kThaw: they stood still until now
};

struct RunReply {
  uint32_t sequence = 0;
  uint32_t end = 0;  // ShardEnd
  int32_t code = 0;
  uint32_t reserved = 0;
  int64_t wall_us = 0;
  int64_t cpu_us = 0;
  uint64_t max_rss_bytes = 0;
  uint64_t written[2] = {};  // to stdout and stderr, all in all
};

// The memory file: `progress` at 0, then from kRingOffset on two rings of log_bytes each, for
// stdout and stderr. Byte i of a stream lies at i % log_bytes of its ring.
inline constexpr size_t kRingOffset = 4096;

// Number and shard in one word, so that a reader sees both of one moment.
struct Progress {
  uint32_t sequence = 0;
  float fraction = -1;
};
static_assert(sizeof(Progress) == 8);

}  // namespace corpgrid::runner::protocol
