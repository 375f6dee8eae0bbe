#pragma once

// Precompiled for the floors that speak gRPC: these headers cost more to read than most files cost
// to compile.
#include <grpcpp/grpcpp.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "corpgrid/v1/jobs.grpc.pb.h"
#include "corpgrid/v1/objects.grpc.pb.h"
#include "corpgrid/v1/scheduler.grpc.pb.h"
