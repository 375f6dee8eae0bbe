#include "runner/inside/streams.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>

#include "runner/inside/system.h"
#include "runner/protocol.h"

namespace corpgrid::runner::inside {
namespace {

constexpr int kReadsAtOnce = 16;
constexpr size_t kReadBytes = 64 << 10;

}  // namespace

Streams::Streams(int memory_file) : memory_file_(memory_file) {
  for (int stream = 0; stream < kCount; ++stream) {
    int ends[2];
    Require(pipe2(ends, O_CLOEXEC) == 0, "pipe");
    Require(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0, "pipe");
    read_ends_[stream] = fcntl(ends[0], F_DUPFD_CLOEXEC, 10);
    Require(read_ends_[stream] >= 0, "pipe");
    // To a number above first: the pipe may have got 1, 2 or 3 itself.
    int high = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
    close(ends[0]);
    close(ends[1]);
    Require(high >= 0 && dup2(high, stream + 1) == stream + 1, "pipe");
    close(high);
  }
}

void Streams::Begin(uint32_t sequence, uint64_t log_bytes) {
  sequence_ = sequence;
  log_bytes_ = std::clamp<uint64_t>(log_bytes, 1, protocol::kMaxLogBytes);
  line_size_ = 0;
  written_[0] = written_[1] = 0;
  uint64_t bytes = protocol::kRingOffset + 2 * log_bytes_;
  if (bytes > mapped_bytes_) {
    if (mapped_ != nullptr) munmap(mapped_, mapped_bytes_);
    Require(ftruncate(memory_file_, bytes) == 0, "ftruncate");
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_file_, 0);
    Require(at != MAP_FAILED, "mmap");
    mapped_ = static_cast<char*>(at);
    mapped_bytes_ = bytes;
  }
  Publish(-1);
}

size_t Streams::ReadOnce(int stream) {
  if (stream == 2) {
    char text[4096];
    long n = Sys(SYS_read, read_ends_[stream], Word(text), sizeof text);
    if (n > 0) TakeProgress(text, n);
    return std::max(n, 0L);
  }
  uint64_t at = written_[stream] % log_bytes_;
  char* ring = mapped_ + protocol::kRingOffset + stream * log_bytes_;
  long n = Sys(SYS_read, read_ends_[stream], Word(ring + at),
               std::min<uint64_t>(log_bytes_ - at, kReadBytes));
  if (n > 0) written_[stream] += n;
  return std::max(n, 0L);
}

void Streams::Drain(int stream) {
  for (int i = 0; i < kReadsAtOnce && ReadOnce(stream) > 0; ++i) {
  }
}

void Streams::Finish() {
  for (int stream = 0; stream < kCount; ++stream) {
    while (ReadOnce(stream) > 0) {
    }
    // The open file is the same for all shards: one that made it non-blocking would trip the next.
    if (fcntl(stream + 1, F_GETFL) != O_WRONLY) fcntl(stream + 1, F_SETFL, 0);
  }
}

void Streams::TakeProgress(const char* text, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (text[i] == '\n' || text[i] == ' ') {
      PublishLine();
      line_size_ = 0;
    } else if (line_size_ < sizeof line_) {
      line_[line_size_++] = text[i];
    }
  }
  PublishLine();  // a program may write a number without an end of line
}

void Streams::PublishLine() {
  float fraction = -1;
  auto [end, error] = std::from_chars(line_, line_ + line_size_, fraction);
  if (error != std::errc() || end != line_ + line_size_) return;
  if (fraction >= 0 && fraction <= 1) Publish(fraction);
}

void Streams::Publish(float fraction) {
  protocol::Progress progress = {sequence_, fraction};
  uint64_t word;
  memcpy(&word, &progress, sizeof word);
  std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(mapped_))
      .store(word, std::memory_order_relaxed);
}

}  // namespace corpgrid::runner::inside
