#include "crypto/hash.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace corpgrid::crypto {
namespace {

// The input of the official test vectors of BLAKE3: byte i is i % 251.
std::string Pattern(size_t size) {
  std::string data(size, '\0');
  for (size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i % 251);
  return data;
}

struct Vector {
  size_t size;
  const char* hash;
  const char* keyed;
};

// From test_vectors.json of the BLAKE3 repository; the key is its "whats the Elvish word for
// friend".
constexpr Vector kVectors[] = {
    {0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
     "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"},
    {1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
     "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"},
    {1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
     "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"},
    {102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
     "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7"},
};

TEST(HashTest, AgreesWithTheOfficialVectors) {
  std::array<uint8_t, 32> key;
  const std::string_view text = "whats the Elvish word for friend";
  std::copy(text.begin(), text.end(), key.begin());
  for (const Vector& vector : kVectors) {
    const std::string data = Pattern(vector.size);
    EXPECT_EQ(Blake3(data).Hex(), vector.hash) << vector.size;
    EXPECT_EQ(KeyedBlake3(key, data).Hex(), vector.keyed) << vector.size;
  }
}

TEST(HashTest, AStreamHashesAsItsWhole) {
  const std::string data = Pattern(10'000);
  Hasher hasher;
  for (size_t at = 0; at < data.size(); at += 777) {
    hasher.Update(std::string_view(data).substr(at, 777));
    EXPECT_EQ(hasher.Finish(), Blake3(std::string_view(data).substr(0, at + 777)));
  }
}

TEST(HashTest, TextAndBytesComeBack) {
  const Hash hash = Blake3("x");
  EXPECT_EQ(*Hash::FromHex(hash.Hex()), hash);
  EXPECT_EQ(*Hash::FromRaw(hash.Raw()), hash);
  std::string upper = hash.Hex();
  std::transform(upper.begin(), upper.end(), upper.begin(), ::toupper);
  EXPECT_EQ(*Hash::FromHex(upper), hash);
}

TEST(HashTest, RefusesWhatIsNoHash) {
  const std::string hex = Blake3("x").Hex();
  for (const std::string& bad :
       {std::string(), hex.substr(1), hex + "0", "g" + hex.substr(1), hex.substr(0, 63) + " "}) {
    EXPECT_FALSE(Hash::FromHex(bad).ok()) << bad;
  }
  EXPECT_EQ(Hash::FromHex("ab").status().message(),
            "expected a hash of 64 hexadecimal digits, got \"ab\" (2 characters)");
  EXPECT_FALSE(Hash::FromRaw(std::string(31, 'x')).ok());
  EXPECT_FALSE(Hash::FromRaw(std::string(33, 'x')).ok());
}

}  // namespace
}  // namespace corpgrid::crypto
