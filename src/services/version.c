/* SPDX-License-Identifier: Apache-2.0 */
#include "services/version.h"

#include "api/containerd/services/version/v1/version.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"

static int version(Call *c, const Google__Protobuf__Empty *req, Version__VersionResponse *rsp)
{
        rsp->version = VERSION_TEXT;
        rsp->revision = "";
        return 0;
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Version", version, google__protobuf__empty, version__version_response),
};

const RpcService version_service = RPC_SERVICE("containerd.services.version.v1.Version", methods);
