#pragma once

// Precompiled for the gateway: these headers cost more to read than most files cost to compile.
#include <grpcpp/grpcpp.h>

#include "corpgrid/v1/worker.pb.h"
#include "http/pch.h"
