// Renders one tile of the picture by path tracing. Every replica of a tile must give the same
// bytes on every machine, so: random numbers of our own, seeded by pixel; only + - * / and sqrt,
// which IEEE 754 rounds exactly; no fused multiply-add (see the Makefile); never two random numbers
// in one expression, whose order the compiler would choose.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "vec.h"

namespace {

constexpr int kWidth = 768, kHeight = 512;
constexpr double kFar = 1e30, kEpsilon = 1e-6;

struct Ray {
  Vec origin, direction;
  Vec At(double t) const { return origin + direction * t; }
};

enum class Surface { kGlossy, kMetal, kGlass, kFloor };

struct Sphere {
  Vec center;
  double radius;
  Surface surface;
  Vec color;
};

struct Box {
  Vec low{kFar, kFar, kFar}, high{-kFar, -kFar, -kFar};
  void Grow(const Sphere& s) {
    Vec reach{s.radius, s.radius, s.radius};
    low = Lower(low, s.center - reach);
    high = Higher(high, s.center + reach);
  }
  bool Meets(Vec origin, Vec inverse, double far) const {
    Vec a = (low - origin) * inverse, b = (high - origin) * inverse;
    Vec enter = Lower(a, b), leave = Higher(a, b);
    return Largest(enter) <= std::min({leave.x, leave.y, leave.z, far}) && Largest(leave) >= 0;
  }
};

struct Hit {
  double distance = kFar;
  Vec normal;
  Surface surface = Surface::kFloor;
  Vec color;
};

// The spheres in a tree of boxes, split in the middle of the longest axis.
class Scene {
 public:
  explicit Scene(std::vector<Sphere> spheres) : spheres_(std::move(spheres)) {
    Split(0, static_cast<int>(spheres_.size()));
  }

  Hit Trace(const Ray& ray) const {
    const Sphere* nearest = nullptr;
    Hit hit;
    Walk(ray, hit.distance, [&](const Sphere& sphere, double distance) {
      nearest = &sphere;
      hit.distance = distance;
    });
    if (nearest != nullptr) {
      hit.normal = (ray.At(hit.distance) - nearest->center) * (1 / nearest->radius);
      hit.surface = nearest->surface;
      hit.color = nearest->color;
    }
    double floor = -ray.origin.y / ray.direction.y;
    if (floor > kEpsilon && floor < hit.distance) {
      hit = {floor, {0, 1, 0}, Surface::kFloor, {0.11, 0.12, 0.17}};
    }
    return hit;
  }

  // How much light comes through over `distance`. Glass lets it pass straight on, which spares the
  // noise of caustics.
  Vec Shadow(const Ray& ray, double distance) const {
    Vec through{1, 1, 1};
    Walk(ray, distance, [&](const Sphere& sphere, double) {
      bool glass = sphere.surface == Surface::kGlass;
      through = glass ? through * sphere.color * 0.55 : Vec{};
      if (!glass) distance = 0;
    });
    return through;
  }

 private:
  struct Node {
    Box box;
    int first, count;  // spheres of a leaf; count 0: the children are the next node and `first`
  };

  int Split(int first, int end) {
    int at = static_cast<int>(nodes_.size());
    nodes_.push_back({{}, first, end - first});
    Box box;
    for (int i = first; i < end; ++i) box.Grow(spheres_[i]);
    nodes_[at].box = box;
    if (end - first <= 2) return at;
    Vec size = box.high - box.low;
    auto axis = [&](const Sphere& s) {
      return size.x >= size.z && size.x >= size.y ? s.center.x
             : size.z >= size.y                   ? s.center.z
                                                  : s.center.y;
    };
    std::stable_sort(spheres_.begin() + first, spheres_.begin() + end,
                     [&](const Sphere& a, const Sphere& b) { return axis(a) < axis(b); });
    int middle = (first + end) / 2;
    Split(first, middle);
    nodes_[at].first = Split(middle, end);
    nodes_[at].count = 0;
    return at;
  }

  // Calls `found` for every sphere met nearer than `far`, which `found` may shorten.
  template <typename Found>
  void Walk(const Ray& ray, const double& far, Found found) const {
    Vec inverse{1 / ray.direction.x, 1 / ray.direction.y, 1 / ray.direction.z};
    int stack[64], depth = 0;
    stack[depth++] = 0;
    while (depth > 0) {
      int at = stack[--depth];
      const Node& node = nodes_[at];
      if (!node.box.Meets(ray.origin, inverse, far)) continue;
      if (node.count == 0) {
        stack[depth++] = node.first;
        stack[depth++] = at + 1;
      }
      for (int i = node.first; i < node.first + node.count; ++i) {
        const Sphere& sphere = spheres_[i];
        Vec from = ray.origin - sphere.center;
        double b = Dot(from, ray.direction);
        double root = b * b - Dot(from, from) + sphere.radius * sphere.radius;
        if (root < 0) continue;
        root = std::sqrt(root);
        double distance = -b - root > kEpsilon ? -b - root : -b + root;
        if (distance > kEpsilon && distance < far) found(sphere, distance);
      }
    }
  }

  std::vector<Sphere> spheres_;
  std::vector<Node> nodes_;
};

// A sunflower of balls around a glass one: each next ball is turned by the golden angle.
Scene Sunflower() {
  std::vector<Sphere> spheres = {{{0, 1.15, 0}, 1.15, Surface::kGlass, {0.97, 0.99, 1.0}}};
  constexpr double kCos = -0.73736887807831985, kSin = 0.67549029426152362;
  const Vec palette[] = {{0.95, 0.30, 0.16}, {0.98, 0.62, 0.12}, {0.93, 0.86, 0.52},
                         {0.16, 0.62, 0.60}, {0.10, 0.34, 0.66}, {0.30, 0.16, 0.50}};
  double x = 1, z = 0;
  for (int i = 1; i <= 260; ++i) {
    double turned = x * kCos - z * kSin;
    z = x * kSin + z * kCos;
    x = turned;
    double far = 0.40 * std::sqrt(i + 10.0), radius = 0.17 + 0.024 * far;
    double shade = std::min(4.999, 5 * (far - 1.36) / 5.2);
    int step = static_cast<int>(shade);
    Vec color = Mix(palette[step], palette[step + 1], shade - step);
    bool metal = i % 7 == 3;
    if (metal) color = Mix(color, {0.95, 0.93, 0.88}, 0.5);
    Surface surface = metal ? Surface::kMetal : Surface::kGlossy;
    spheres.push_back({{x * far, radius, z * far}, radius, surface, color});
  }
  return Scene(std::move(spheres));
}

// A soft box above the scene on the left; the only thing that is sampled as a light.
constexpr Vec kLampCorner{-6.5, 7.5, -1.5}, kLampSide{4.0, 1.6, -3.2}, kLampDepth{2.2, 0, 2.75};
constexpr Vec kLampLight{11.5, 10.6, 9.2};

double LampDistance(const Ray& ray) {
  static const Vec normal = Cross(kLampSide, kLampDepth);
  double slope = Dot(ray.direction, normal);
  if (slope == 0) return kFar;
  double distance = Dot(kLampCorner - ray.origin, normal) / slope;
  Vec at = ray.At(distance) - kLampCorner;
  double u = Dot(at, kLampSide) / Dot(kLampSide, kLampSide);
  double v = Dot(at, kLampDepth) / Dot(kLampDepth, kLampDepth);
  return distance > kEpsilon && u >= 0 && u <= 1 && v >= 0 && v <= 1 ? distance : kFar;
}

Vec Sky(Vec direction) {
  double up = std::max(0.0, direction.y);
  Vec sky = Mix({0.17, 0.19, 0.30}, {0.22, 0.30, 0.46}, std::sqrt(up));
  double glow = std::max(0.0, Dot(direction, Vec{0.66, 0.13, -0.74}));
  glow *= glow * glow;
  return sky + Vec{0.85, 0.42, 0.20} * (glow * glow);
}

Vec LampOn(const Scene& scene, Vec at, Vec normal, Random& random) {
  double side = random.Uniform(), depth = random.Uniform();  // in this order whatever the compiler
  Vec way = kLampCorner + kLampSide * side + kLampDepth * depth - at;
  double square = Dot(way, way), distance = std::sqrt(square);
  Vec direction = way * (1 / distance);
  Vec area = Cross(kLampSide, kLampDepth);
  double facing = Dot(direction, normal), shining = std::abs(Dot(direction, area));
  if (facing <= 0) return {};
  return kLampLight * scene.Shadow({at, direction}, distance) *
         (facing * shining / (square * 3.14159265358979323846));
}

// Schlick's approximation of Fresnel's reflectance.
double Fresnel(double cosine, double straight) {
  double m = 1 - cosine, square = m * m;
  return straight + (1 - straight) * square * square * m;
}

// The direction in which glass sends a ray on; `normal` points out of it.
Vec ThroughGlass(Vec direction, Vec normal, Random& random) {
  constexpr double kIndex = 1.5;
  double cosine = -Dot(direction, normal), ratio = 1 / kIndex;
  if (cosine < 0) {
    cosine = -cosine;
    normal = normal * -1;
    ratio = kIndex;
  }
  double rest = 1 - ratio * ratio * (1 - cosine * cosine);
  if (rest <= 0) return Reflect(direction, normal);
  double inside = std::sqrt(rest);
  if (random.Uniform() < Fresnel(std::min(cosine, inside), 0.04)) return Reflect(direction, normal);
  return direction * ratio + normal * (ratio * cosine - inside);
}

Vec Radiance(const Scene& scene, Ray ray, Random& random, int bounce = 0, bool sees_lamp = true) {
  Vec light, weight{1, 1, 1};
  for (; bounce < 10; ++bounce) {
    Hit hit = scene.Trace(ray);
    if (LampDistance(ray) < hit.distance) return sees_lamp ? light + weight * kLampLight : light;
    if (hit.distance == kFar) return light + weight * Sky(ray.direction);
    Vec at = ray.At(hit.distance);
    double cosine = std::abs(Dot(ray.direction, hit.normal));
    if (hit.surface == Surface::kGlass) {
      weight = weight * hit.color;
      ray = {at, Unit(ThroughGlass(ray.direction, hit.normal, random))};
    } else if (hit.surface == Surface::kMetal) {
      weight = weight * Mix(hit.color, {1, 1, 1}, Fresnel(cosine, 0));
      ray = {at, Unit(Reflect(ray.direction, hit.normal) + random.OnSphere() * 0.05)};
    } else {
      bool floor = hit.surface == Surface::kFloor;
      if (floor) {  // fades into the horizon
        double far = hit.distance * hit.distance, fog = far / (far + 500);
        light = light + weight * Sky({ray.direction.x, 0, ray.direction.z}) * fog;
        weight = weight * (1 - fog);
      }
      double coat = Fresnel(cosine, 0.04);
      if (bounce == 0) {  // only here both ways are worth their time
        Vec mirrored = Reflect(ray.direction, hit.normal);
        if (floor) mirrored = Unit(mirrored + random.OnSphere() * 0.04);
        light = light + weight * Radiance(scene, {at, mirrored}, random, 2, sees_lamp) * coat;
      }
      weight = weight * hit.color * (1 - coat);
      light = light + weight * LampOn(scene, at, hit.normal, random);
      ray = {at, Unit(hit.normal * 1.0001 + random.OnSphere())};
      sees_lamp = false;  // was asked just now
    }
    if (bounce >= 2) {
      double survive = std::min(0.95, Largest(weight));
      if (random.Uniform() >= survive) return light;
      weight = weight * (1 / survive);
    }
  }
  return light;
}

// Where the rays of a pixel start and go: a lens focused on the front of the glass ball.
Ray CameraRay(double x, double y, Random& random) {
  static const Vec eye{2.6, 3.6, 9.2}, target{0.1, 0.62, 0.35};
  static const Vec forward = Unit(target - eye), right = Unit(Cross(forward, {0, 1, 0}));
  static const Vec up = Cross(right, forward);
  constexpr double kFocus = 8.7, kLens = 0.13, kZoom = 0.33;
  double across = (2 * x / kWidth - 1) * kZoom * kWidth / kHeight;
  double along = (1 - 2 * y / kHeight) * kZoom;
  Vec focus = eye + (forward + right * across + up * along) * kFocus;
  Vec lens = random.InDisk() * kLens;
  Vec origin = eye + right * lens.x + up * lens.y;
  return {origin, Unit(focus - origin)};
}

uint8_t ToByte(double value) {
  // Narkowicz's fit of the ACES film curve, then sRGB's gamma as a sum of square roots.
  value = std::max(0.0, value * 0.85);
  value = std::min(1.0, value * (2.51 * value + 0.03) / (value * (2.43 * value + 0.59) + 0.14));
  double a = std::sqrt(value), b = std::sqrt(a), c = std::sqrt(b);
  double gamma = 0.662002687 * a + 0.684122060 * b - 0.323583601 * c - 0.0225411470 * value;
  return static_cast<uint8_t>(std::clamp(gamma * 255 + 0.5, 0.0, 255.0));
}

Vec Pixel(const Scene& scene, int x, int y, int samples) {
  Random random(static_cast<uint64_t>(y) * kWidth + static_cast<uint64_t>(x));
  int grid = static_cast<int>(std::sqrt(static_cast<double>(samples)));
  Vec sum;
  for (int i = 0; i < samples; ++i) {  // the first grid * grid of them stratified
    double dx = random.Uniform(), dy = random.Uniform();
    if (i < grid * grid) {
      const int column = i % grid, line = i / grid;
      dx = (column + dx) / grid;
      dy = (line + dy) / grid;
    }
    Vec light = Radiance(scene, CameraRay(x + dx, y + dy, random), random);
    sum = sum + light * std::min(1.0, 12 / std::max(1e-9, Largest(light)));  // no fireflies
  }
  return sum * (1.0 / samples);
}

[[noreturn]] void Fail(const std::string& message) {
  std::fprintf(stderr, "trace: %s\nusage: SAMPLES=64 trace --tile I --of N\n", message.c_str());
  std::exit(2);
}

int Number(const std::string& what, const std::string& text, int low, int high) {
  char* end = nullptr;
  long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != 0 || value < low || value > high) {
    Fail(what + " is \"" + text + "\"; expected a whole number from " + std::to_string(low) +
         " to " + std::to_string(high));
  }
  return static_cast<int>(value);
}

std::string Environment(const char* name, const char* otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : text;
}

}  // namespace

int main(int argc, char** argv) {
  std::string tile_text, of_text;
  for (int i = 1; i < argc; i += 2) {
    std::string name = argv[i];
    if (name != "--tile" && name != "--of") Fail("unknown option \"" + name + "\"");
    if (i + 1 == argc) Fail(name + " needs a number");
    (name == "--tile" ? tile_text : of_text) = argv[i + 1];
  }
  int tiles = Number("--of", of_text, 1, 4096);
  int side = static_cast<int>(std::sqrt(static_cast<double>(tiles)));
  if (side * side != tiles) Fail("--of is " + of_text + "; expected a square number such as 64");
  int tile = Number("--tile", tile_text, 0, tiles - 1);
  int samples = Number("SAMPLES", Environment("SAMPLES", "64"), 1, 65536);
  int progress =
      Number("CORPGRID_PROGRESS_FD", Environment("CORPGRID_PROGRESS_FD", "-1"), -1, 1023);

  int column = tile % side, row = tile / side;
  int left = column * kWidth / side, right = (column + 1) * kWidth / side;
  int top = row * kHeight / side, bottom = (row + 1) * kHeight / side;
  Scene scene = Sunflower();
  std::string bytes =
      "P6\n" + std::to_string(right - left) + " " + std::to_string(bottom - top) + "\n255\n";
  for (int y = top; y < bottom; ++y) {
    for (int x = left; x < right; ++x) {
      Vec color = Pixel(scene, x, y, samples);
      for (double value : {color.x, color.y, color.z}) bytes += static_cast<char>(ToByte(value));
    }
    if (progress >= 0) dprintf(progress, "%.3f\n", double(y + 1 - top) / (bottom - top));
  }
  FILE* file = std::fopen("tile.ppm", "wb");
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() ||
      std::fclose(file) != 0) {
    std::perror("trace: cannot write tile.ppm");
    return 1;
  }
  return 0;
}
