// Mean of an up-sampled feature map inside each region. See region_pooling.cpp.
#pragma once

#include <cstdint>

namespace icd {

struct PoolingShape {
    int64_t channels, rows, columns;  // of the feature map
    int64_t height, width;            // of the region map
    int64_t regions, frame;
};

// `features` (channels, rows, columns), `regions` (height, width) with values 0..regions-1, each of which occurs,
// height, width <= frame; writes `pooled` (regions, channels).
void pool_regions(const float* features, const int32_t* regions, const PoolingShape& shape, int threads, float* pooled);

}  // namespace icd
