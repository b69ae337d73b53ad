// Draws an OME-Zarr with viv, the image layers of vizarr and Avivator; bundled by esbuild.
import { Deck, OrthographicView } from "@deck.gl/core";
import { MultiscaleImageLayer } from "@vivjs/layers";
import { loadOmeZarr } from "@vivjs/loaders";
import { ColorPaletteExtension } from "@vivjs/extensions";

window.draw = async (url, contrast, zoom) => {
  const { data } = await loadOmeZarr(url, { type: "multiscales" });
  const labels = data[0].labels, at = (name) => data[0].shape[labels.indexOf(name)];
  window.loaded = { levels: data.length, shape: data[0].shape, dtype: data[0].dtype };
  new Deck({
    parent: document.body,
    views: new OrthographicView({ id: "ortho" }),
    initialViewState: { target: [at("x") / 2, at("y") / 2, 0], zoom },
    controller: true,
    layers: [
      new MultiscaleImageLayer({
        id: "image-ortho", viewportId: "ortho", loader: data, selections: [{}], contrastLimits: [contrast],
        colors: [[255, 255, 255]], channelsVisible: [true], extensions: [new ColorPaletteExtension()],
        onViewportLoad: () => (window.drawn = true),
      }),
    ],
  });
};
