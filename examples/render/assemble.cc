// Puts the tiles of a finished job together: RESULTS/<shard>/tile.ppm, row by row, into one PNG.
#include <zlib.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Image {
  int width = 0, height = 0;
  std::string bytes;  // three a pixel, row by row

  uint8_t At(int y, int i) const {
    return static_cast<uint8_t>(bytes[static_cast<size_t>(y) * width * 3 + i]);
  }
};

[[noreturn]] void Fail(const std::string& message) {
  std::fprintf(stderr, "assemble: %s\n", message.c_str());
  std::exit(1);
}

Image ReadTile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Fail("cannot read " + path + "; is the job done?");
  std::string magic;
  int maximum = 0;
  Image tile;
  file >> magic >> tile.width >> tile.height >> maximum;
  file.get();
  if (!file || magic != "P6" || maximum != 255 || tile.width < 1 || tile.height < 1 ||
      tile.width > 65535 || tile.height > 65535) {
    Fail(path + " is no P6 picture with 255 levels");
  }
  tile.bytes.resize(static_cast<size_t>(tile.width) * tile.height * 3);
  file.read(tile.bytes.data(), static_cast<std::streamsize>(tile.bytes.size()));
  if (!file) Fail(path + " ends too early");
  return tile;
}

// Tiles of a row side by side, rows one below the other; sizes must fit.
Image Assemble(const std::string& folder) {
  int tiles = 0;
  while (std::filesystem::exists(folder + "/" + std::to_string(tiles))) ++tiles;
  int side = static_cast<int>(std::sqrt(static_cast<double>(tiles)));
  if (tiles == 0) Fail("no folder " + folder + "/0; fetch the results with `corpgrid job results`");
  if (side * side != tiles)
    Fail(folder + " holds " + std::to_string(tiles) + " tiles, no square number");
  Image picture;
  for (int row = 0; row < side; ++row) {
    std::vector<Image> tiles;
    int width = 0;
    for (int column = 0; column < side; ++column) {
      tiles.push_back(ReadTile(folder + "/" + std::to_string(row * side + column) + "/tile.ppm"));
      width += tiles.back().width;
      if (tiles.back().height != tiles[0].height)
        Fail("the tiles of row " + std::to_string(row) + " differ in height");
    }
    if (row > 0 && width != picture.width) Fail("row " + std::to_string(row) + " differs in width");
    picture.width = width;
    picture.height += tiles[0].height;
    for (int y = 0; y < tiles[0].height; ++y) {
      for (const Image& tile : tiles)
        picture.bytes.append(tile.bytes, static_cast<size_t>(y) * tile.width * 3,
                             static_cast<size_t>(tile.width) * 3);
    }
  }
  return picture;
}

uint8_t Paeth(int left, int above, int corner) {
  int guess = left + above - corner;
  int a = std::abs(guess - left), b = std::abs(guess - above), c = std::abs(guess - corner);
  return static_cast<uint8_t>(a <= b && a <= c ? left : b <= c ? above : corner);
}

// Every row with the PNG filter that leaves the smallest sum of absolute differences.
std::string Filter(const Image& image) {
  std::string all;
  for (int y = 0; y < image.height; ++y) {
    std::string best;
    long best_sum = -1;
    for (char filter = 0; filter < 5; ++filter) {
      std::string row(1, filter);
      long sum = 0;
      for (int i = 0; i < image.width * 3; ++i) {
        int left = i >= 3 ? image.At(y, i - 3) : 0, above = y > 0 ? image.At(y - 1, i) : 0;
        int corner = i >= 3 && y > 0 ? image.At(y - 1, i - 3) : 0;
        int guesses[] = {0, left, above, (left + above) / 2, Paeth(left, above, corner)};
        int difference = image.At(y, i) - guesses[static_cast<uint8_t>(filter)];
        row += static_cast<char>(difference);
        sum += std::abs(static_cast<int8_t>(difference));
      }
      if (best_sum < 0 || sum < best_sum) {
        best = row;
        best_sum = sum;
      }
    }
    all += best;
  }
  return all;
}

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string Chunk(const std::string& type, const std::string& data) {
  std::string body = type + data;
  auto crc = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return BigEndian(static_cast<uint32_t>(data.size())) + body +
         BigEndian(static_cast<uint32_t>(crc));
}

std::string EncodePng(const Image& image) {
  std::string raw = Filter(image);
  uLongf size = compressBound(raw.size());
  std::string packed(size, 0);
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size,
                reinterpret_cast<const Bytef*>(raw.data()), raw.size(), 9) != Z_OK) {
    Fail("out of memory");
  }
  packed.resize(size);
  std::string header = BigEndian(static_cast<uint32_t>(image.width)) +
                       BigEndian(static_cast<uint32_t>(image.height));
  header += std::string("\x08\x02\0\0\0",
                        5);  // 8 bits, RGB, the one compression, filter set, no interlace
  return "\x89PNG\r\n\x1a\n" + Chunk("IHDR", header) + Chunk("IDAT", packed) + Chunk("IEND", "");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: assemble RESULTS PICTURE.png   (RESULTS/<shard>/tile.ppm)\n");
    return 2;
  }
  std::string png = EncodePng(Assemble(argv[1]));
  std::ofstream file(argv[2], std::ios::binary);
  file.write(png.data(), static_cast<std::streamsize>(png.size()));
  file.close();
  if (!file) Fail(std::string("cannot write ") + argv[2]);
}
