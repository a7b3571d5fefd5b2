// The graph of a picture: every pixel is joined with its eight neighbours; an edge weighs the colour distance after smoothing.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "memory.h"

namespace superpixel {

// An edge from a pixel to the neighbour in a direction, made to be sorted: weight << 32 | pixel << 2 | direction. The bits of
// floats >= 0 compare like the floats.
enum Direction { right, down, down_right, up_right };
using Edge = uint64_t;

inline uint32_t weight_bits(Edge edge) { return static_cast<uint32_t>(edge >> 32); }
inline int32_t pixel_of(Edge edge) { return static_cast<int32_t>(static_cast<uint32_t>(edge) >> 2); }
inline float weight_of(Edge edge) {
    const uint32_t bits = weight_bits(edge);
    float weight;
    std::memcpy(&weight, &bits, sizeof weight);
    return weight;
}

// A component in one number: its root << 2 | what it takes no part in any more. At an edge between two components no join by
// likeness is possible once one of them is closed to it, and none by size once both are large.
constexpr uint32_t closed = 1, large = 2;
inline uint32_t component(int32_t root, uint32_t state) { return static_cast<uint32_t>(root) << 2 | state; }
inline int32_t root_of(uint32_t component) { return static_cast<int32_t>(component >> 2); }
inline uint32_t can_join(uint32_t a, uint32_t b) { return (a != b ? 1u : 0u) & ~((a | b) | (a & b) >> 1); }

class Graph {
  public:
    // `rgb`: height x width x 3, sigma of the smoothing in pixels.
    Graph(const uint8_t* rgb, int64_t height, int64_t width, float sigma);

    // How far the neighbour in each direction is from its pixel.
    const std::array<int64_t, 4>& steps() const { return steps_; }

    // All edges by pixel in raster order, those of a pixel in the order of `Direction`.
    std::vector<Edge> all_edges() const;

    // Writes the edges with first <= weight bits <= last that can still join two components, in any order, to `edges`, which
    // has room for all; returns their number. `components` says by pixel where it belongs, see above.
    int64_t edges_between(const uint32_t* components, int32_t first, int32_t last, Edge* edges) const;

    // The weight bits that about a share of `fraction` of the edges does not exceed.
    int32_t quantile(double fraction) const;

    // At least the bits of every weight.
    static int32_t highest();

  private:
    const int32_t* weights(Direction direction) const { return weights_.data() + direction * height_ * width_; }

    // The columns begin..end of row y that have a neighbour in a direction; none if the row has none.
    struct Columns {
        int64_t begin, end;
    };
    Columns columns_with(Direction direction, int64_t y) const;

    int64_t height_, width_;
    std::array<int64_t, 4> steps_;
    icd::Buffer<int32_t> weights_;  // bits, by direction and pixel
};

}  // namespace superpixel
