#include "models/source.h"

#include <gtest/gtest.h>

#include "models/http_client.h"

namespace corpgrid::models {
namespace {

TEST(SourceTest, HubFiles) {
  const auto source = Source::Parse("hf://org/repo/sub dir/a%b.gguf");
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->Url("https://hub"), "https://hub/org/repo/resolve/main/sub%20dir/a%25b.gguf");
  EXPECT_EQ(source->Page("https://hub"), "https://hub/org/repo");
  EXPECT_EQ(source->ToText(), "hf://org/repo/sub dir/a%b.gguf");
  EXPECT_EQ(source->WithFile("c.gguf").path, "sub dir/c.gguf");
  const auto revision = Source::Parse("hf://org/repo@v1.0/a.gguf");
  ASSERT_TRUE(revision.ok());
  EXPECT_EQ(revision->repo, "org/repo");
  EXPECT_EQ(revision->ToText(), "hf://org/repo@v1.0/a.gguf");
  for (const char* bad : {"hf://", "hf://org", "hf://org/repo", "hf://org/repo/", "hf:///repo/a",
                          "hf://../repo/a", "hf://org/re po/a", "hf://org/repo@/a",
                          "hf://o@x/repo/a", "hf://org/repo/../../other/a", "hf://org/repo/.."}) {
    EXPECT_EQ(Source::Parse(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(SourceTest, UrlsKeepTheirQueryToThemselves) {
  const auto source = Source::Parse("https://host:8443/dir/a%20b.gguf?sig=secret#x");
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->path, "/dir/a b.gguf");
  EXPECT_EQ(source->ToText(), "https://host:8443/dir/a%20b.gguf");
  EXPECT_EQ(source->WithFile("c d.gguf").url, "https://host:8443/dir/c%20d.gguf?sig=secret#x");
}

TEST(SourceTest, AUrlWithoutAPathNamesNoFileAndNoOtherHost) {
  for (const char* bad :
       {"https://host", "https://host/", "https://host?a/b.gguf", "https://host/dir/"}) {
    EXPECT_EQ(Source::Parse(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(SourceTest, OnlyHttpsLeavesTheMachine) {
  for (const char* good : {"https://host/a", "http://127.0.0.1:80/a", "http://127.9.9.9/a",
                           "http://[::1]:1/a", "http://localhost/a"}) {
    EXPECT_TRUE(CheckUrl(good).ok()) << good;
  }
  for (const char* bad : {"http://host/a", "http://128.0.0.1/a", "http://127.0.0.1.evil.example/a",
                          "http://localhost.evil.example/a", "http://127.0.0.1@evil.example/a",
                          "https://user:pw@host/a", "ftp://host/a", "file:///etc/passwd",
                          "gopher://x/", "https://", "http:///a", "", "https://ho st/a"}) {
    EXPECT_EQ(CheckUrl(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(SourceTest, OriginsTellHostsApart) {
  EXPECT_EQ(OriginOf("https://hub/a"), "https://hub:443");
  EXPECT_EQ(OriginOf("https://HUB:443/b?c"), OriginOf("https://hub/a"));
  for (const char* other :
       {"http://hub/a", "https://hub:444/a", "https://cdn.hub/a", "https://hub.evil/a"}) {
    EXPECT_NE(OriginOf(other), OriginOf("https://hub/a")) << other;
  }
  EXPECT_EQ(OriginOf("nonsense"), "");
  EXPECT_EQ(ResolveUrl("https://hub/a/b?c", "/d"), "https://hub/d");
  EXPECT_EQ(ResolveUrl("https://hub/a/b", "c"), "https://hub/a/c");
  EXPECT_EQ(ResolveUrl("https://hub/a/b", "https://other/x"), "https://other/x");
}

}  // namespace
}  // namespace corpgrid::models
