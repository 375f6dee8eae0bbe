#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

struct Vec {
  double x = 0, y = 0, z = 0;
};
inline Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator*(Vec a, Vec b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
inline Vec operator*(Vec a, double s) { return {a.x * s, a.y * s, a.z * s}; }
inline double Dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec Cross(Vec a, Vec b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline Vec Unit(Vec a) { return a * (1 / std::sqrt(Dot(a, a))); }
inline Vec Mix(Vec a, Vec b, double t) { return a * (1 - t) + b * t; }
inline Vec Reflect(Vec direction, Vec normal) {
  return direction - normal * (2 * Dot(direction, normal));
}
inline double Largest(Vec a) { return std::max({a.x, a.y, a.z}); }
inline Vec Lower(Vec a, Vec b) {
  return {std::min(a.x, b.x), std::min(a.y, b.y), std::min(a.z, b.z)};
}
inline Vec Higher(Vec a, Vec b) {
  return {std::max(a.x, b.x), std::max(a.y, b.y), std::max(a.z, b.z)};
}

// PCG-XSH-RR 64/32 (O'Neill 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {
    Next();
    Next();
  }
  double Uniform() { return Next() * 0x1p-32; }
  Vec InDisk() {
    for (;;) {
      Vec p{2 * Uniform() - 1, 2 * Uniform() - 1, 0};
      if (Dot(p, p) < 1) return p;
    }
  }
  Vec OnSphere() {
    for (;;) {
      Vec p{2 * Uniform() - 1, 2 * Uniform() - 1, 2 * Uniform() - 1};
      double square = Dot(p, p);
      if (square < 1 && square > 1e-9) return p * (1 / std::sqrt(square));
    }
  }

 private:
  uint32_t Next() {
    uint64_t old = state_;
    state_ = old * 6364136223846793005u + 1442695040888963407u;
    uint32_t mixed = static_cast<uint32_t>(((old >> 18) ^ old) >> 27);
    int turn = static_cast<int>(old >> 59);
    return (mixed >> turn) | (mixed << (-turn & 31));
  }
  uint64_t state_;
};
