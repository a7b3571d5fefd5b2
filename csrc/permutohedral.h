// Gaussian filtering of per-pixel values in a space of positions and colours, on a permutohedral lattice. See
// permutohedral.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.h"

namespace icd {

// What two pixels are compared by: positions divided by `sxy`, and, unless `rgb` is null, colours divided by `srgb`.
struct FeatureSpace {
    int64_t height, width;
    float sxy;
    const uint8_t* rgb;  // (height, width, 3)
    float srgb;
};

// Some values of each pixel (`lanes` = 2, 4, 8 or 16 of them); successive pixels lie `stride` floats apart.
struct PixelValues {
    float* first;
    int64_t stride;
    int lanes;
};

class Lattice {
  public:
    // Throws std::invalid_argument if the standard deviations are too small to number the vertices.
    // After construction the filter is normalised symmetrically: D^-1/2 K D^-1/2 with D = K 1.
    Lattice(const FeatureSpace& space, int threads);

    // Filtering, first half: the values of all pixels, brought onto the lattice and blurred there, into `vertex_values`.
    void spread(const PixelValues& in, Buffer<float>& vertex_values, Buffer<float>& scratch, int threads) const;

    // Filtering, second half, for the pixels begin..end: out.first[0] belongs to pixel `begin` and is increased by `scale`
    // times the filtered value.
    void collect(const Buffer<float>& vertex_values, int64_t begin, int64_t end, float scale,
                 const PixelValues& out) const;

  private:
    struct Share {  // a pixel gives and takes at a vertex by this weight
        int32_t partner;
        float weight;
    };
    template <int dimensions>
    void build(const FeatureSpace& space, int threads);
    void list_pixels_of_vertices();
    void normalise(int threads);
    template <int lanes>
    void splat(const PixelValues& in, float* values, int threads) const;
    template <int lanes>
    void blur(int axis, const float* values, float* blurred, int threads) const;
    template <int lanes>
    void spread_lanes(const PixelValues& in, Buffer<float>& values, Buffer<float>& scratch, int threads) const;
    template <int lanes>
    void collect_lanes(const float* values, int64_t begin, int64_t end, float scale, const PixelValues& out) const;

    int64_t count_;
    int corners_;                       // of a simplex: dimensions + 1
    int64_t vertex_count_ = 0;
    Buffer<Share> of_pixel_;            // [count][corners]: the vertices around a pixel, by barycentric weights
    Buffer<Share> of_vertex_;           // the same by vertices, the pixels in ascending order; empty for one thread
    std::vector<int32_t> vertex_start_; // [vertex_count + 1]: where a vertex begins in of_vertex_
    Buffer<int32_t> neighbours_;        // [corners][vertex_count][2]: along each axis; vertex_count for "none"
};

}  // namespace icd
