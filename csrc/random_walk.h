// Random walk of scores on a grid of pixels. See random_walk.cpp.
#pragma once

#include <cstdint>

namespace icd {

struct WalkShape {
    int64_t planes, height, width;  // of the scores
    int64_t directions;
};

// `affinities` (directions, height, width) in 0..1: between a pixel and the pixel one `offsets` (directions, 2: dy, dx) away;
// entries that point outside are ignored. No offset is (0, 0), a repetition or the opposite of another one. beta > 0.
// `scores` and `walked` (planes, height, width).
void random_walk(const float* scores, const float* affinities, const int32_t* offsets, const WalkShape& shape,
                 double beta, int64_t steps, int threads, float* walked);

}  // namespace icd
