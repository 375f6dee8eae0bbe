#include "gateway/api_keys.h"

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/file.h"
#include "base/status_macros.h"
#include "crypto/key_file.h"
#include "crypto/signature.h"
#include "fmt/format.h"
#include "gateway/api_error.h"
#include "gateway/fields.h"

namespace corpgrid::gateway {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;
constexpr int64_t kMost = int64_t{1} << 53;  // what every JSON reader keeps exactly

absl::Status NoSuchKey() {
  return ApiError(absl::StatusCode::kUnauthenticated,
                  "this API key is not known here; ask who runs this server for one", "",
                  "invalid_api_key");
}

absl::StatusOr<ApiKey> ReadKey(const Json& json, const std::string& path) {
  Fields fields(json, path);
  ApiKey key;
  fields.Require("name");
  fields.Require("hash");
  key.name = fields.Text("name");
  const absl::StatusOr<crypto::Hash> hash = crypto::Hash::FromHex(fields.Text("hash"));
  if (!hash.ok()) {
    fields.Fail("hash", std::string(hash.status().message()));
  } else {
    key.hash = *hash;
  }
  if (const Json* models = fields.List("models")) {
    for (const Json& model : *models) {
      if (model.is_string()) {
        key.models.push_back(model.get<std::string>());
      } else {
        fields.Fail("models", "has to be a list of names");
      }
    }
  }
  key.expires_s = fields.Integer("expires", 0, 0, kMost);
  key.max_concurrent = static_cast<uint32_t>(fields.Integer("max_concurrent", 0, 0, 1'000'000));
  key.tokens_per_minute = static_cast<uint64_t>(fields.Integer("tokens_per_minute", 0, 0, kMost));
  RETURN_IF_ERROR(fields.Finish());
  return key;
}

absl::StatusOr<std::vector<ApiKey>> ParseKeys(std::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  std::vector<ApiKey> keys;
  Fields fields(json);
  fields.Require("keys");
  const Json* list = fields.List("keys");
  std::set<std::string> names;
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    absl::StatusOr<ApiKey> key = ReadKey((*list)[i], fmt::format("keys[{}]", i));
    if (!key.ok()) {
      fields.Fail(key.status());
    } else if (!names.insert(key->name).second) {
      fields.Fail("keys", fmt::format("has two of the name \"{}\"", key->name));
    } else {
      keys.push_back(*std::move(key));
    }
  }
  RETURN_IF_ERROR(fields.Finish());
  return keys;
}

// What is no UTF-8 becomes U+FFFD.
std::string TextOf(const std::vector<ApiKey>& keys) {
  Json list = Json::array();
  for (const ApiKey& key : keys) {
    list.push_back({{"name", key.name},
                    {"hash", key.hash.Hex()},
                    {"models", key.models},
                    {"expires", key.expires_s},
                    {"max_concurrent", key.max_concurrent},
                    {"tokens_per_minute", key.tokens_per_minute}});
  }
  const Json file = {{"keys", std::move(list)}};
  return file.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// One key that cannot be read back would lock out the holders of all.
absl::Status CheckReadsBack(std::string_view text, const std::vector<ApiKey>& keys) {
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        fmt::format("it would have {} bytes; at most {} are possible", text.size(), kMaxFileBytes));
  }
  ASSIGN_OR_RETURN(const std::vector<ApiKey> read, ParseKeys(text));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (read[i].name != keys[i].name) {
      return absl::InvalidArgumentError(fmt::format("keys[{}].name is no UTF-8", i));
    }
    if (read[i].models != keys[i].models) {
      return absl::InvalidArgumentError(fmt::format("keys[{}].models has what is no UTF-8", i));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool ApiKey::Allows(std::string_view model) const {
  return models.empty() || std::find(models.begin(), models.end(), model) != models.end();
}

std::string NewApiKey() { return "cgk-" + crypto::Blake3(crypto::RandomBytes(32)).Hex(); }

crypto::Hash HashOfApiKey(std::string_view key) {
  return crypto::Blake3("corpgrid api key 1\n" + std::string(key));
}

absl::StatusOr<ApiKey> OneKey::Find(std::string_view key) const {
  if (HashOfApiKey(key) == key_.hash) return key_;
  return NoSuchKey();
}

absl::StatusOr<std::unique_ptr<KeyFile>> KeyFile::Open(const std::string& path) {
  std::unique_ptr<KeyFile> file(new KeyFile(path));
  absl::MutexLock lock(&file->mutex_);
  RETURN_IF_ERROR(file->Refresh());
  return file;
}

absl::Status KeyFile::Refresh() const {
  struct stat now;
  if (stat(path_.c_str(), &now) != 0) return FileError(path_, "read", errno);
  // Write() makes a new file each time: another inode.
  if (now.st_ino == read_.st_ino && now.st_mtim.tv_sec == read_.st_mtim.tv_sec &&
      now.st_mtim.tv_nsec == read_.st_mtim.tv_nsec && now.st_size == read_.st_size) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<ApiKey> keys, Read(path_));
  keys_.clear();
  for (const ApiKey& key : keys) keys_.emplace(key.hash, key);
  read_ = now;
  return absl::OkStatus();
}

absl::StatusOr<ApiKey> KeyFile::Find(std::string_view key) const {
  const crypto::Hash hash = HashOfApiKey(key);
  absl::MutexLock lock(&mutex_);
  if (const absl::Status status = Refresh(); !status.ok()) {
    return absl::UnavailableError(
        fmt::format("API keys cannot be checked: {}", std::string(status.message())));
  }
  const auto found = keys_.find(hash);
  if (found == keys_.end()) return NoSuchKey();
  return found->second;
}

absl::StatusOr<std::vector<ApiKey>> KeyFile::Read(const std::string& path) {
  const auto check = [&](const struct stat& file) -> absl::Status {
    if ((file.st_mode & 022) == 0) return absl::OkStatus();
    return absl::PermissionDeniedError(fmt::format(
        "others may write to {}; take that right from them: chmod go-w {}", path, path));
  };
  ASSIGN_OR_RETURN(const std::string text, crypto::ReadKeyFile(path, kMaxFileBytes, check));
  absl::StatusOr<std::vector<ApiKey>> keys = ParseKeys(text);
  if (keys.ok()) return keys;
  return absl::InvalidArgumentError(
      fmt::format("{} is no file of API keys: {}", path, std::string(keys.status().message())));
}

absl::Status KeyFile::Write(const std::string& path, const std::vector<ApiKey>& keys) {
  const std::string text = TextOf(keys);
  if (const absl::Status status = CheckReadsBack(text, keys); !status.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not written: {}", path, std::string(status.message())));
  }
  return crypto::WriteKeyFile(path, text, 0600, crypto::IfExists::kReplace);
}

}  // namespace corpgrid::gateway
