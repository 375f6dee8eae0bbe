#include "models/quantize_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/testing/temp_folder.h"
#include "fmt/format.h"
#include "models/test_models.h"

namespace corpgrid::models {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class FileInTypeTest : public ::testing::Test {
 protected:
  StoredModel Add(const std::string& name, const std::string& content) {
    EXPECT_TRUE(AddTestModel(store_.get(), name, content).ok());
    return *store_->Find(name);
  }

  // The worker program is a shell script: its arguments are "quantize FILE --to FILE --type TYPE".
  absl::StatusOr<std::string> Make(const StoredModel& model, const std::string& type,
                                   const std::string& script = R"(cat "$2" > "$4"
                                                                  echo "as $6" >> "$4"
                                                                  echo '{"result": {}}')") {
    return FileInType(*store_, model, type, made_, ScriptProgram(folder_ / "worker", script),
                      [](double) {});
  }

  std::vector<std::string> Made() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(made_)) {
      if (entry.is_regular_file()) names.push_back(entry.path());
    }
    return names;
  }

  static std::string Content(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  testing::TempFolder folder_;
  const std::string made_ = folder_ / "made";
  std::unique_ptr<ModelStore> store_ = *ModelStore::Open(folder_ / "models");
};

TEST_F(FileInTypeTest, IsMadeOnce) {
  const StoredModel model = Add("one", "weights ");
  const auto first = Make(model, "q4_0");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Content(*first), "weights as Q4_0\n");
  const auto again = Make(model, "Q4_0", "exit 1");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, *first);
}

TEST_F(FileInTypeTest, NothingIsLeftOfWhatFailed) {
  const StoredModel model = Add("one", "weights ");
  EXPECT_EQ(Make(model, "Q4_0", R"(echo half > "$4"; kill -ABRT $$)").status().code(),
            absl::StatusCode::kInternal);
  EXPECT_THAT(Made(), IsEmpty());
  EXPECT_TRUE(fs::is_empty(made_ + "/making"));
  EXPECT_FALSE(Make(model, std::string(300, 'A')).ok());
}

TEST_F(FileInTypeTest, ALinkIsNoFile) {
  std::ofstream(folder_ / "secret") << "key";
  EXPECT_EQ(Make(Add("one", "weights "), "Q4_0",
                 fmt::format("ln -s {} \"$4\"; echo '{{\"result\": {{}}}}'", folder_ / "secret"))
                .status()
                .code(),
            absl::StatusCode::kInternal);
}

TEST_F(FileInTypeTest, OneTypeAModelIsKeptForAsLongAsTheStoreHasIt) {
  const StoredModel one = Add("one", "weights "), two = Add("two", "other weights ");
  ASSERT_TRUE(Make(one, "Q4_0").ok());
  ASSERT_TRUE(Make(two, "Q4_0").ok());
  ASSERT_TRUE(Make(one, "Q8_0").ok());
  EXPECT_THAT(Made(), UnorderedElementsAre(EndsWith("-Q8_0.gguf"), EndsWith("-Q4_0.gguf")));
  ASSERT_TRUE(store_->Remove("one").ok());
  ASSERT_TRUE(Make(two, "Q5_0").ok());
  EXPECT_THAT(Made(), ElementsAre(EndsWith("-Q5_0.gguf")));
}

}  // namespace
}  // namespace corpgrid::models
