#include "models/add_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/testing/temp_folder.h"
#include "models/test_models.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;

// `add --link` that was killed leaves a link to the file; `add` without it emptied that.
TEST(AddModelTest, AFileIsNotEmptiedThroughALinkThatWasLeft) {
  const testing::TempFolder folder;
  const std::string source = folder / "m.gguf";
  std::ofstream(source) << "GGUF content";
  const auto store = *ModelStore::Open(folder / "models");
  {
    const auto staging = store->Stage("m", source);
    fs::create_hard_link(source, staging->PathOf("m.gguf"));
  }
  AddRequest request;
  request.source = source;
  request.worker = ScriptProgram(
      folder / "worker",
      R"(echo '{"result": {"facts": {}, "verdict": {"loads": true, "generates": true}}}')");
  const auto added =
      AddModel(store.get(), request, [](std::string_view, uint64_t, uint64_t) {}, SystemClock());
  ASSERT_TRUE(added.ok()) << added.status();
  std::ifstream file(source);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "GGUF content");
  EXPECT_EQ(added->bytes(), 12u);
  EXPECT_FALSE(fs::equivalent(source, store->PathOf(*added)));
}

}  // namespace
}  // namespace corpgrid::models
