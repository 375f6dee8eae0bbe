#include "objects/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utime.h>

#include "base/testing/temp_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "objects/tar.h"
#include "objects/test_bundle.h"
#include "objects/test_store.h"

namespace corpgrid::objects {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

void WriteFile(const std::string& path, std::string_view content, mode_t mode = 0644) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << content;
  ::chmod(path.c_str(), mode);
}

const std::string& LongName() {
  static const std::string name(200, 'n');
  return name;
}

// A folder with everything that a bundle may hold; `order` decides what is made first.
void FillFolder(const std::string& folder, bool reversed) {
  std::vector<std::function<void()>> steps = {
      [&] { WriteFile(folder + "/run.sh", "#!/bin/sh\n", 0755); },
      [&] { WriteFile(folder + "/empty", ""); },
      [&] { fs::create_directories(folder + "/empty folder/inner"); },
      [&] { WriteFile(folder + "/large", RandomText((3 << 20) + 17, 1)); },
      [&] { WriteFile(folder + "/block", RandomText(512, 2)); },
      [&] { WriteFile(folder + "/" + LongName() + "/" + LongName() + "/x", "deep"); },
      [&] { WriteFile(folder + "/Zürich/naïve \xf0\x9f\x8e\x89.txt", "unicode"); },
      [&] { WriteFile(folder + "/a", "lower"); },
      [&] { WriteFile(folder + "/A", "upper"); },
      [&] { WriteFile(folder + "/.hidden", "dot"); },
      [&] { WriteFile(folder + "/a-b/x", "1"); },
      [&] { WriteFile(folder + "/back\\slash", "\\"); },
  };
  if (reversed) std::reverse(steps.begin(), steps.end());
  for (const auto& step : steps) step();
}

class BundleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(in_);
    fs::create_directory(out_);
  }

  corpgrid::testing::TempFolder folder_;
  const std::string in_ = folder_ / "in";
  const std::string out_ = folder_ / "out";
};

TEST_F(BundleTest, WhatIsUnpackedIsWhatWasPacked) {
  FillFolder(in_, false);
  const auto archive = Pack(in_);
  ASSERT_TRUE(archive.ok()) << archive.status();
  const absl::Status status = Unpack(*archive, out_);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Describe(out_), Describe(in_));
  EXPECT_EQ(Describe(out_).at("run.sh"), "file 755 #!/bin/sh\n");
}

TEST_F(BundleTest, PiecesOfAnySizeGiveTheSame) {
  WriteFile(in_ + "/" + LongName() + "/x", "content", 0755);
  WriteFile(in_ + "/y", RandomText(1500, 1));
  const std::string archive = *Pack(in_);
  for (const size_t piece : {1, 7, 511, 512, 513, 4096}) {
    const std::string out = folder_ / fmt::format("out{}", piece);
    fs::create_directory(out);
    EXPECT_EQ(Unpack(archive, out, {}, piece), absl::OkStatus());
    EXPECT_EQ(Describe(out), Describe(in_));
  }
}

TEST_F(BundleTest, TheSameFilesGiveTheSameBytes) {
  FillFolder(in_, false);
  const mode_t old_mask = ::umask(077);
  const std::string other = folder_ / "other";
  fs::create_directory(other);
  FillFolder(other, true);
  for (const auto& entry : fs::recursive_directory_iterator(other)) {
    const utimbuf time{.actime = 1, .modtime = 1};
    ::utime(entry.path().c_str(), &time);
    if (::geteuid() == 0) {
      EXPECT_EQ(::lchown(entry.path().c_str(), 12, 34), 0);
    }
    if (!entry.is_directory()) {
      ::chmod(entry.path().c_str(), entry.path().filename() == "run.sh" ? 0700 : 0600);
    }
  }
  EXPECT_TRUE(*Pack(in_) == *Pack(other));
  ASSERT_TRUE(Unpack(*Pack(other), out_).ok());
  ::umask(old_mask);
  EXPECT_EQ(Describe(out_), Describe(in_));
}

// So that no later version changes a byte of what was signed once.
TEST_F(BundleTest, TheBytesAreTheseForEver) {
  WriteFile(in_ + "/run", "x", 0755);
  WriteFile(in_ + "/" + LongName() + "/ü", "y");
  EXPECT_EQ(crypto::Blake3(*Pack(in_)).Hex(),
            "5903a700c88f9758330f5203435247cf366db3e614e97a246aa22543dd15125a");
}

TEST_F(BundleTest, LinksWithinAreWhatTheyPointTo) {
  WriteFile(in_ + "/data/file", "content", 0755);
  fs::create_symlink("data/file", in_ + "/to file");
  fs::create_symlink("data", in_ + "/to folder");
  fs::create_symlink("../to file", in_ + "/data/to link");
  fs::create_symlink(fs::canonical(in_) / "data/file", in_ + "/absolute");
  fs::create_hard_link(in_ + "/data/file", in_ + "/hard");
  const auto archive = Pack(in_);
  ASSERT_TRUE(archive.ok()) << archive.status();
  ASSERT_TRUE(Unpack(*archive, out_).ok());
  const auto out = Describe(out_);
  for (const char* name :
       {"to file", "to folder/file", "to folder/to link", "data/to link", "absolute", "hard"}) {
    ASSERT_TRUE(out.contains(name)) << name;
    EXPECT_EQ(out.at(name), "file 755 content");
  }
}

TEST_F(BundleTest, WhatIsNoBundleIsRefusedByName) {
  const auto expect_refused = [&](const std::string& name, const std::string& why) {
    const absl::Status status = Pack(in_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(status.message(), HasSubstr(why));
    fs::remove_all(in_);
    fs::create_directory(in_);
  };
  fs::create_symlink("/etc/passwd", in_ + "/out");
  expect_refused("absolute", "in/out: a link out of the folder, to /etc/passwd");
  fs::create_symlink("../out", in_ + "/up");
  expect_refused("up", "in/up: a link out of the folder");
  fs::create_directory(folder_ / "in2");
  fs::create_symlink("../in2", in_ + "/sibling");
  expect_refused("a folder whose name begins alike", "a link out of the folder");
  fs::create_symlink("nowhere", in_ + "/dangling");
  expect_refused("dangling", "leads nowhere");
  fs::create_symlink("loop", in_ + "/loop");
  expect_refused("a link to itself", "leads nowhere");
  fs::create_directories(in_ + "/a/b");
  fs::create_symlink("../../a", in_ + "/a/b/up");
  expect_refused("a link to its parent", "in/a/b/up: a link to a folder that contains it");
  ASSERT_EQ(::mkfifo((in_ + "/fifo").c_str(), 0644), 0);
  expect_refused("fifo", "in/fifo: neither a file nor a folder");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  fmt::format_to_n(address.sun_path, sizeof(address.sun_path) - 1, "{}/s", in_);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  expect_refused("socket", "in/s: neither a file nor a folder");
  ::close(fd);
  WriteFile(in_ + "/bad\xff", "");
  expect_refused("not UTF-8", "not UTF-8");
  WriteFile(in_ + "/new\nline", "");
  expect_refused("newline", "control characters");
  std::string deep = in_;
  for (int i = 0; i < 65; ++i) deep += "/d";
  fs::create_directories(deep);
  expect_refused("deep", "deeper than 64");
  EXPECT_EQ(Pack(folder_ / "none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BundleTest, AnErrorOfTheSinkEndsThePacking) {
  WriteFile(in_ + "/x", "content");
  int calls = 0;
  EXPECT_EQ(PackBundle(in_,
                       [&](std::string_view) {
                         ++calls;
                         return absl::CancelledError("enough");
                       }),
            absl::CancelledError("enough"));
  EXPECT_EQ(calls, 1);
}

TEST_F(BundleTest, AnErrorOfTheSourceIsReturnedAndNothingStays) {
  WriteFile(in_ + "/x/y", RandomText(5000, 1));
  const std::string archive = *Pack(in_);
  bool first = true;
  EXPECT_EQ(UnpackBundle(
                [&]() -> absl::StatusOr<std::string> {
                  if (std::exchange(first, false)) return archive.substr(0, 3000);
                  return absl::UnavailableError("cut off");
                },
                out_, {}),
            absl::UnavailableError("cut off"));
  EXPECT_TRUE(fs::is_empty(out_));
}

TEST_F(BundleTest, AFolderThatIsNotEmptyIsLeftAlone) {
  WriteFile(in_ + "/x", "mine");
  const std::string archive = *Pack(in_);
  EXPECT_EQ(Unpack(archive, in_).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Describe(in_).at("x"), "file 644 mine");
}

TEST_F(BundleTest, AFileThatGrowsMeanwhileIsSaid) {
  WriteFile(in_ + "/x", std::string(1 << 20, 'x'));
  bool grown = false;
  const absl::Status status = PackBundle(in_, [&](std::string_view) {
    if (!std::exchange(grown, true)) std::ofstream(in_ + "/x", std::ios::app) << "more";
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
}

// libarchive reads what we pack as what it is.
TEST_F(BundleTest, OthersReadWhatWePack) {
  FillFolder(in_, false);
  const std::string packed = *Pack(in_);
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(reader.get());
  ASSERT_EQ(archive_read_open_memory(reader.get(), packed.data(), packed.size()), ARCHIVE_OK);
  std::map<std::string, std::string> found;
  std::vector<std::string> order;
  archive_entry* entry = nullptr;
  // A warning says that a name is not ASCII, which the test's locale is.
  for (int code = 0; (code = archive_read_next_header(reader.get(), &entry)) != ARCHIVE_EOF;) {
    ASSERT_GE(code, ARCHIVE_WARN) << archive_error_string(reader.get());
    std::string path = archive_entry_pathname(entry);
    const bool is_folder = archive_entry_filetype(entry) == AE_IFDIR;
    if (is_folder) path.pop_back();
    std::string text =
        fmt::format("{} {:o}", is_folder ? "dir" : "file", archive_entry_perm(entry));
    if (!is_folder) {
      std::string content(static_cast<size_t>(archive_entry_size(entry)), '\0');
      ASSERT_EQ(archive_read_data(reader.get(), content.data(), content.size()),
                static_cast<la_ssize_t>(content.size()));
      text += " " + content;
    }
    found[path] = text;
    std::replace(path.begin(), path.end(), '/', '\0');  // a folder's entries follow it at once
    order.push_back(path);
  }
  EXPECT_EQ(found, Describe(in_));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

// And we read what libarchive packs as ustar and pax.
TEST_F(BundleTest, WeReadWhatOthersPack) {
  for (const bool pax : {false, true}) {
    std::string packed(1 << 20, '\0');
    size_t used = 0;
    const std::unique_ptr<archive, int (*)(archive*)> writer(archive_write_new(),
                                                             archive_write_free);
    pax ? archive_write_set_format_pax(writer.get()) : archive_write_set_format_ustar(writer.get());
    archive_write_open_memory(writer.get(), packed.data(), packed.size(), &used);
    const std::string deep = fmt::format("{}/{}", std::string(90, 'd'), std::string(90, 'f'));
    for (const std::string& path : {std::string("plain"), deep}) {
      const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(),
                                                                           archive_entry_free);
      archive_entry_set_pathname(entry.get(), path.c_str());
      archive_entry_set_filetype(entry.get(), AE_IFREG);
      archive_entry_set_perm(entry.get(), 0750);
      archive_entry_set_size(entry.get(), 7);
      archive_entry_set_mtime(entry.get(), 1'000'000, 123);
      archive_entry_set_uname(entry.get(), "someone");
      ASSERT_EQ(archive_write_header(writer.get(), entry.get()), ARCHIVE_OK);
      archive_write_data(writer.get(), "content", 7);
    }
    archive_write_close(writer.get());
    packed.resize(used);
    const std::string out = folder_ / (pax ? "pax" : "ustar");
    fs::create_directory(out);
    EXPECT_EQ(Unpack(packed, out), absl::OkStatus());
    const auto found = Describe(out);
    EXPECT_EQ(found.size(), 3u);
    EXPECT_EQ(found.at("plain"), "file 755 content");
    EXPECT_EQ(found.at(deep), "file 755 content");
  }
}

TEST(TarHeaderTest, LargeFilesGetTheirSizeInAnExtendedHeader) {
  const uint64_t size = 9ull << 30;
  const std::string header = EncodeTarHeader({.path = "big", .size_bytes = size});
  EXPECT_THAT(header, HasSubstr("19 size=9663676416\n"));
  std::string rest = header;
  const Source source = [&]() -> absl::StatusOr<std::string> { return std::exchange(rest, ""); };
  TarReader reader(source, UnpackLimits{});
  const auto entry = reader.Next();
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ((*entry)->size_bytes, size);
}

}  // namespace
}  // namespace corpgrid::objects
