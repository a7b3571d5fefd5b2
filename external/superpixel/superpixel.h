// Graph-based superpixels: an RGB picture in, one segment number per pixel out. See superpixel.cpp for the algorithm.
#pragma once

#include <cstdint>

namespace superpixel {

struct Parameters {
    float k = 75.0f;        // threshold constant: larger makes larger segments; >= 0
    float sigma = 0.8f;     // smoothing in pixels; 0 = none
    int64_t min_size = 75;  // segments below this many pixels are joined to a neighbour
};

// The largest picture whose edges and components can be numbered with 32 bits.
constexpr int64_t max_pixels = int64_t{1} << 29;

// Segment a picture of height x width pixels, 8-bit R, G, B interleaved, row by row.
// Writes the segment numbers 0, 1, ... (raster order of first appearance) to `labels`; returns how many there are.
// Needs height * width <= max_pixels. Uses the calling thread only and no global state.
int64_t segment(const uint8_t* rgb, int64_t height, int64_t width, const Parameters& parameters, int32_t* labels);

}  // namespace superpixel
