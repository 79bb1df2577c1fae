// All kernels but the tiles, of which cuda_kernels.py instantiates the shapes it wants.

#pragma once

#include "tvl1_median.cuh"
#include "tvl1_plain.cuh"
#include "tvl1_pyramid.cuh"
#include "tvl1_settle.cuh"
#include "tvl1_tile.cuh"
#include "tvl1_warp.cuh"
