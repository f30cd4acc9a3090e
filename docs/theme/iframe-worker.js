// Browsers start no worker from a page on disk. There, the worker of the search runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      this.started = this.start(new URL(address, document.baseURI).href);
    }

    start(address) {
      const load = (source) => new Promise((done, failed) => {
        const script = this.inside.document.createElement("script");
        script.src = new URL(source, address);
        script.onload = done;
        script.onerror = failed;
        this.inside.document.body.append(script);
      });
      this.inside.importScripts = (...sources) => sources.reduce((last, next) => last.then(() => load(next)), Promise.resolve());
      this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      return load(address);
    }

    postMessage(data) {
      this.started.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.inside.frameElement.remove();
    }
  };
}
