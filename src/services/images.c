/* SPDX-License-Identifier: Apache-2.0 */
#include "services/images.h"

#include "api/google/protobuf/empty.pb-c.h"
#include "metadata/images.h"
#include "services/list_priv.h"
#include "services/sync_priv.h"
#include "services/warnings.h"

/* The label that converters leave on what they made of a schema 1 image. */
static void warn_of_schema1(const Images__Image *image)
{
        if (image && labels_find(image->labels, image->n_labels,
                                 "io.containerd.image/converted-docker-schema1"))
                deprecation_emit(DEPRECATION_SCHEMA1_IMAGE);
}

static int get(Call *c, const Images__GetImageRequest *req, Images__GetImageResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = records_begin(c, meta_begin_ro, &txn, &ns);
        if (r < 0)
                return r;
        rsp->image = images_get(&txn, ns, req->name);
        warn_of_schema1(rsp->image);
        return meta_commit(&txn);
}

static int list(Call *c, const Images__ListImagesRequest *req, Images__ListImagesResponse *rsp)
{
        return list_answer(c, (const char *const *)req->filters, req->n_filters, images_list);
}

static int create(Call *c, const Images__CreateImageRequest *req, Images__CreateImageResponse *rsp)
{
        Images__ImageCreate event = IMAGES__IMAGE_CREATE__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0 && (!req->image || str_empty(req->image->name)))
                r = err_set(c->err, INVALID_ARGUMENT, "Image.Name required");
        if (r == 0)
                r = meta_begin_rw(c->ctx, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        rsp->image = images_create(&txn, ns, req->image, req->source_date_epoch, c->lease);
        warn_of_schema1(rsp->image);
        if (rsp->image) {
                event.name = rsp->image->name;
                event.n_labels = rsp->image->n_labels;
                event.labels = (void *)rsp->image->labels; /* entries of one shape */
                meta_event(&txn, ns, "/images/create", &event);
        }
        return meta_commit(&txn);
}

static int update(Call *c, const Images__UpdateImageRequest *req, Images__UpdateImageResponse *rsp)
{
        const Google__Protobuf__FieldMask *mask = req->update_mask;
        Images__ImageUpdate event = IMAGES__IMAGE_UPDATE__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0 && (!req->image || str_empty(req->image->name)))
                r = err_set(c->err, INVALID_ARGUMENT, "Image.Name required");
        if (r == 0)
                r = meta_begin_rw(c->ctx, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        rsp->image =
                images_update(&txn, ns, req->image, mask ? (const char *const *)mask->paths : NULL,
                              mask ? mask->n_paths : 0, req->source_date_epoch, c->lease);
        warn_of_schema1(rsp->image);
        if (rsp->image) {
                event.name = rsp->image->name;
                event.n_labels = rsp->image->n_labels;
                event.labels = (void *)rsp->image->labels;
                meta_event(&txn, ns, "/images/update", &event);
        }
        return meta_commit(&txn);
}

static int delete (Call *c, const Images__DeleteImageRequest *req, Google__Protobuf__Empty *rsp)
{
        Images__ImageDelete event = IMAGES__IMAGE_DELETE__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns, *target = NULL;
        int r;

        r = records_begin(c, meta_begin_free, &txn, &ns);
        if (r < 0)
                return r;
        if (req->target_presence_case == IMAGES__DELETE_IMAGE_REQUEST__TARGET_PRESENCE_TARGET)
                target = req->target->digest;
        images_delete(&txn, ns, req->name, target, c->lease);
        event.name = req->name;
        meta_event(&txn, ns, "/images/delete", &event);
        r = meta_commit(&txn);
        return r == 0 && req->sync ? sync_then_answer(c, c->ctx) : r;
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Get", get, images__get_image_request, images__get_image_response),
        RPC_UNARY_METHOD("List", list, images__list_images_request, images__list_images_response),
        RPC_BATCH_METHOD("Create", create, images__create_image_request,
                         images__create_image_response),
        RPC_BATCH_METHOD("Update", update, images__update_image_request,
                         images__update_image_response),
        RPC_WAIT_METHOD("Delete", delete, images__delete_image_request, google__protobuf__empty),
};

const RpcService images_service = RPC_SERVICE("containerd.services.images.v1.Images", methods);
