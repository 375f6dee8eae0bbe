// What a hostile command may try, and that it gets nowhere.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "runner/sandboxed_test.h"

namespace corpgrid::runner {
namespace {

using testing::HasSubstr;
using testing::Not;
using AttackTest = SandboxedTest;

// Python that prints `name: errno` of raw system calls; a call that works prints 0.
constexpr const char* kCalls = R"(
import ctypes, errno, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
arm = platform.machine() == 'aarch64'
def call(name, x86, arm64, *arguments):
    ctypes.set_errno(0)
    number = arm64 if arm else x86
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    print(name, errno.errorcode.get(ctypes.get_errno(), 'OK') if result < 0 else 'OK')
)";

TEST_F(AttackTest, SeesNothingOfTheHost) {
  Result result = Shell(
      "for f in /etc/shadow /etc/hostname /etc/machine-id /home /root /var/lib /var/log /boot /sys "
      "/mnt /srv /run/user /proc/1/environ /proc/1/mem /proc/1/maps /proc/1/fd/10 /proc/1/cwd "
      "/proc/1/root /proc/kcore /dev/sda /dev/vda /dev/mem /dev/kmsg /dev/tty /dev/fuse; "
      "do cat $f >/dev/null 2>&1 && echo read $f; ls $f/* >/dev/null 2>&1 && echo list $f; done; "
      "ls /proc/1/fd /proc/1/task/1/fd; echo end");
  EXPECT_EQ(result.out, "end\n");
  Result etc = Shell("ls /etc; cat /etc/passwd");
  EXPECT_THAT(etc.out, Not(HasSubstr("root")));
  EXPECT_THAT(etc.out, Not(HasSubstr("ssh")));
  EXPECT_THAT(Shell("hostname; cat /proc/sys/kernel/hostname").out, "corpgrid\ncorpgrid\n");
}

TEST_F(AttackTest, WritesNowhereElse) {
  Result result = Shell(
      "for d in / /etc /usr /usr/bin /dev /var /run /proc /proc/sys/kernel /lib; do "
      "echo x 2>/dev/null > $d/attack && echo wrote $d; done; "
      "chmod 777 / 2>/dev/null && echo chmod; mkdir /new 2>/dev/null && echo mkdir; "
      "echo x 2>/dev/null > /corpgrid-runner && echo runner; "
      "echo -1000 2>/dev/null > /proc/self/oom_score_adj && echo oom; "
      "echo x > /work/ok && echo x > /tmp/ok && echo x > /dev/shm/ok && echo x > /var/tmp/ok; echo "
      "end");
  EXPECT_EQ(result.out, "end\n") << result.err;
}

TEST_F(AttackTest, SeesNoOtherSessionAndNoOtherShard) {
  Start(Options());
  auto other = Session::Start(Options());
  ASSERT_TRUE(other.ok()) << other.status();
  ShardRequest request;
  request.argv = {"/bin/sh", "-c", "echo secret > /work/s; echo secret > /tmp/s"};
  request.wall_ms = 5000;
  ASSERT_TRUE((*other)->Run(request).ok());
  Shell("echo secret > /work/mine; echo secret > /tmp/mine; echo secret > /dev/shm/mine");
  EXPECT_EQ(Shell("find /work /tmp /dev/shm -mindepth 1").out, "");
  EXPECT_EQ(Shell("grep -rs secret /work /tmp /dev/shm /run /var; echo end").out, "end\n");
}

TEST_F(AttackTest, HasNoPrivilegesAndAFilter) {
  Result status = Shell("cat /proc/self/status");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_THAT(status.out, HasSubstr(std::string(set) + ":\t0000000000000000"));
  }
  EXPECT_THAT(status.out, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(status.out, HasSubstr("Seccomp:\t2"));
  EXPECT_NE(Shell("su -c id; sudo id; mount -t tmpfs x /tmp").exit.code, 0);
}

TEST_F(AttackTest, DangerousCallsAreRefused) {
  Result result = Python(std::string(kCalls) + R"(
call('unshare-user', 272, 97, 0x10000000)
call('unshare-pid', 272, 97, 0x20000000)
call('setns', 308, 268, 0, 0)
call('mount', 165, 40, b'x', b'/tmp', b'tmpfs', 0, None)
call('umount2', 166, 39, b'/tmp', 2)
call('pivot_root', 155, 41, b'/tmp', b'/tmp')
call('chroot', 161, 51, b'/tmp')
call('fsopen', 430, 430, b'tmpfs', 0)
call('open_tree', 428, 428, -100, b'/', 1)
call('move_mount', 429, 429, -100, b'/', -100, b'/tmp', 0)
call('ptrace', 101, 117, 16, 1, 0, 0)
call('process_vm_readv', 310, 270, 1, None, 0, None, 0, 0)
call('bpf', 321, 280, 0, None, 0)
call('perf', 298, 241, None, 0, -1, -1, 0)
call('userfaultfd', 323, 282, 1)
call('io_uring', 425, 425, 8, None)
call('keyctl', 250, 219, 0, -4, 1)
call('add_key', 248, 217, b'user', b'a', b'b', 1, -4)
call('kexec', 246, 104, 0, 0, None, 0)
call('by_handle', 304, 265, -100, None, 0)
call('pidfd_getfd', 438, 438, 0, 0, 0)
call('memfd_secret', 447, 447, 0)
call('reboot', 169, 142, 0, 0, 0, None)
call('clone-user', 56, 220, 0x10000011, 0, 0, 0, 0)
call('clone-pid-ipc', 56, 220, 0x28000011, 0, 0, 0, 0)
call('clone-as-the-runner', 56, 220, 0x28001711, 0, 0, 0, 0)
call('clone3', 435, 435, None, 0)
call('unknown', 1000, 1000)
call('tiocsti', 16, 29, 0, 0x5412, b'x')
call('tiocsti-high', 16, 29, 0, 0x100005412, b'x')
call('packet', 41, 198, 17, 3, 0)
call('packet-high', 41, 198, 0x100000011, 3, 0)
call('vsock', 41, 198, 40, 1, 0)
call('alg', 41, 198, 38, 5, 0)
call('netfilter', 41, 198, 16, 3, 12)
call('audit', 41, 198, 16, 3, 9)
call('raw', 41, 198, 2, 3, 1)
)");
  EXPECT_EQ(result.out,
            "unshare-user EPERM\nunshare-pid EPERM\nsetns EPERM\nmount EPERM\numount2 EPERM\n"
            "pivot_root EPERM\nchroot EPERM\nfsopen EPERM\nopen_tree EPERM\nmove_mount EPERM\n"
            "ptrace EPERM\nprocess_vm_readv EPERM\nbpf EPERM\nperf EPERM\nuserfaultfd EPERM\n"
            "io_uring EPERM\nkeyctl EPERM\nadd_key EPERM\nkexec EPERM\nby_handle EPERM\n"
            "pidfd_getfd EPERM\nmemfd_secret EPERM\nreboot EPERM\nclone-user EPERM\n"
            "clone-pid-ipc ENOSYS\nclone-as-the-runner EPERM\nclone3 ENOSYS\nunknown ENOSYS\n"
            "tiocsti EPERM\ntiocsti-high EPERM\npacket EAFNOSUPPORT\npacket-high EAFNOSUPPORT\n"
            "vsock EAFNOSUPPORT\nalg EAFNOSUPPORT\nnetfilter EPROTONOSUPPORT\n"
            "audit EPROTONOSUPPORT\nraw EPERM\n")
      << result.err;
}

TEST_F(AttackTest, ThirtyTwoBitCallsAreFatal) {
#if defined(__x86_64__)
  // mov eax, 20 (getpid); int 0x80; ret
  Result result = Python(
      "import ctypes, mmap\n"
      "m = mmap.mmap(-1, 4096, prot=7)\n"
      "m.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"
      "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()\n");
  EXPECT_EQ(result.exit.end, ShardEnd::kSignaled);
  EXPECT_EQ(result.exit.code, 31) << "SIGSYS";
#endif
}

TEST_F(AttackTest, CannotReachTheRunnerOrTheInit) {
  Result result = Python(R"(
import os, re
init = re.search(r'PPid:\s*(\d+)', open('/proc/self/status').read()).group(1)
for pid in ('1', init):
    for name in ('mem', 'environ', 'maps', 'auxv', 'stack', 'syscall', 'fd/0', 'fd/10', 'io'):
        for mode in ('rb', 'wb'):
            try: open('/proc/%s/%s' % (pid, name), mode).read(1); print(mode, pid, name)
            except OSError: pass
    for name in ('exe', 'cwd', 'root', 'fd/1', 'ns/pid'):
        try: print(pid, name, os.readlink('/proc/%s/%s' % (pid, name)))
        except OSError: pass
print('init', init != '1')
)");
  EXPECT_EQ(result.out, "init True\n") << result.err;
  // PID 1 of the shard's namespace is its init, and no signal from within touches it.
  Result signals = Python(
      "import os, signal\n"
      "assert os.getpid() != 1\n"
      "for s in range(1, 65):\n"
      "  try: os.kill(1, s)\n"
      "  except OSError: pass\n"
      "for s in (9, 15, 19): \n"
      "  try: os.kill(os.getppid(), s)\n"
      "  except OSError: pass\n"
      "print('alive')\n");
  EXPECT_EQ(signals.out, "alive\n") << signals.err;
  Result all =
      Shell("trap '' TERM HUP INT USR1; kill -HUP -1; kill -TERM 0; kill -USR1 -1; echo alive");
  EXPECT_EQ(all.out, "alive\n");
  EXPECT_EQ(Run({"/bin/true"}).exit.code, 0);
}

TEST_F(AttackTest, NothingOutlivesTheShard) {
  Result result = Python(R"(
import os, signal, time
for i in range(8):
    if os.fork() == 0:
        os.setsid()
        for s in range(1, 64):
            try: signal.signal(s, signal.SIG_IGN)
            except (OSError, ValueError): pass
        if os.fork() == 0:
            os.closerange(0, 10)
            while True: time.sleep(1)
        os._exit(0)
print('left')
)");
  EXPECT_EQ(result.out, "left\n");
  EXPECT_EQ(result.exit.code, 0);
  EXPECT_EQ(LeftOver(0).size(), 2u) << "bubblewrap and the runner";
}

TEST_F(AttackTest, NoIpcOfAnEarlierShard) {
  Result first = Shell("ipcmk -M 4096 -p 0666 && ipcs -m | grep -c 666");
  EXPECT_THAT(first.out, HasSubstr("1\n")) << first.err;
  EXPECT_EQ(Shell("ipcs -m | grep -c 666").out, "0\n");
}

TEST_F(AttackTest, CannotChangeTheStreamsOfTheNextShard) {
  Start(Options());
  Python(
      "import fcntl, os\n"
      "for f in (1, 2, 3): fcntl.fcntl(f, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC | 0o40000)\n"
      "for f in (1, 2, 3): fcntl.fcntl(f, 1031, 4096)\n");
  EXPECT_EQ(
      Python(
          "import fcntl\nprint([fcntl.fcntl(f, fcntl.F_GETFL) & ~0o100000 for f in (1, 2, 3)])\n")
          .out,
      "[1, 1, 1]\n");
  EXPECT_EQ(Shell("seq 100000 | tail -1; seq 100000").out.size(), 7u + 588895u);
}

class Listener {
 public:
  Listener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 8), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = std::to_string(ntohs(address.sin_port));
  }
  ~Listener() { close(fd_); }
  const std::string& port() const { return port_; }

 private:
  int fd_;
  std::string port_;
};

TEST_F(AttackTest, HasNoNetworkUnlessAllowed) {
  Listener host;
  const std::string connect =
      "import socket\n"
      "try: socket.create_connection(('127.0.0.1', " +
      host.port() +
      "), 2); print('connected')\n"
      "except OSError as e: print(e.strerror)\n";
  EXPECT_EQ(Python(connect).out, "Connection refused\n");
  EXPECT_EQ(Shell("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").out, "lo\n");
  session_.reset();
  SandboxOptions options = Options();
  options.network = true;
  Start(options);
  EXPECT_EQ(Python(connect).out, "connected\n");
}

TEST_F(AttackTest, HasAWorkingLoopbackOfItsOwn) {
  EXPECT_EQ(Python("import socket\n"
                   "s = socket.create_server(('127.0.0.1', 0))\n"
                   "c = socket.create_connection(s.getsockname()); print('connected')\n")
                .out,
            "connected\n");
}

TEST_F(AttackTest, UndeletableTreesAreGone) {
  SandboxOptions options = Options();
  options.disk_bytes = 256 << 20;  // which allows 16,384 files
  Start(options);
  // Deeper than any path, without rights, with every odd name, full of links and sockets.
  Result deep = Python(R"(
import os, socket
for i in range(10000):
    os.mkdir('d'); os.chdir('d')
os.chdir('/work')
for i in range(300):
    os.mkdir('x%d' % i); open('x%d/f' % i, 'w').close(); os.chmod('x%d/f' % i, 0); os.chmod('x%d' % i, 0)
os.makedirs('a/b/c/moved-0'); os.mkdir('moved-0'); os.mkdir('moved-1')
open('a/b/c/moved-0/moved-0', 'w').close()
for p in ('a/b/c', 'a/b', 'a'): os.chmod(p, 0)
for n in (b'\n', b'-rf', b' ', b'\xff\xfe', b'*', b'moved-2', b'n' * 255): open(n, 'w').close()
os.symlink('/', 'root'); os.symlink('loop', 'loop'); os.mkfifo('fifo')
s = socket.socket(socket.AF_UNIX); s.bind('sock')
os.link('fifo', 'fifo2')
os.setxattr('.', 'user.mark', b'1') if hasattr(os, 'setxattr') and os.uname().release >= '6.6' else None
for d in ('/tmp', '/dev/shm', '/work'): os.chmod(d, 0)
print('made')
)");
  EXPECT_EQ(deep.out, "made\n") << deep.err;
  EXPECT_EQ(
      Shell("ls -A /work /tmp /dev/shm; stat -c %a /work /tmp /dev/shm; getfattr -d /work").out,
      "/dev/shm:\n\n/tmp:\n\n/work:\n755\n1777\n1777\n");
}

TEST_F(AttackTest, FilesInTransitBetweenSocketsDoNotStayBehind) {
  Result result = Python(R"(
import array, os, socket
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
f = os.open('/tmp/hidden', os.O_CREAT | os.O_RDWR)
os.write(f, b'x' * (8 << 20)); os.unlink('/tmp/hidden')
# A cycle: each socket waits in the other's queue, with the file.
for s, t in ((a, b), (b, a)):
    s.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [t.fileno(), s.fileno(), f]))])
print('sent')
)");
  EXPECT_EQ(result.out, "sent\n");
  EXPECT_EQ(Shell("df --output=used,iused /work | tail -1").out,
            Shell("df --output=used,iused /work | tail -1").out);
  EXPECT_THAT(Shell("df --output=used -k /work | tail -1").out, testing::MatchesRegex(" *0\n"));
}

}  // namespace
}  // namespace corpgrid::runner
