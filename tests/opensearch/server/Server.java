import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * Node NUMBER (from 1 on) of a cluster of NODES OpenSearch nodes with k-NN, each a process:
 * Server FOLDER PORT NUMBER NODES.
 *
 * Listens on PORT + NUMBER - 1, and for the other nodes 16 ports above. Ends where standard input
 * ends, so that it never outlives whoever started it.
 */
public class Server {
  private static final int BETWEEN_NODES = 16;

  public static void main(String[] args) {
    new Thread(Server::endWithInput).start();
    int port = Integer.parseInt(args[1]);
    int number = Integer.parseInt(args[2]);
    int nodes = Integer.parseInt(args[3]);
    List<String> seeds = IntStream.range(0, nodes)
        .mapToObj(n -> "127.0.0.1:" + (port + BETWEEN_NODES + n))
        .collect(Collectors.toList());
    OpenSearchRunner runner = new OpenSearchRunner();
    runner.onBuild((unused, settings) -> {
      settings.put("node.name", "node-" + number);
      settings.put("http.port", String.valueOf(port + number - 1));
      settings.put("transport.port", String.valueOf(port + BETWEEN_NODES + number - 1));
      settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
      if (nodes == 1) {
        settings.put("discovery.type", "single-node");
      } else {
        settings.putList("discovery.seed_hosts", seeds);
        settings.put("cluster.initial_cluster_manager_nodes", "node-1");
      }
    });
    runner.build(OpenSearchRunner.newConfigs()
        .basePath(Path.of(args[0]).toString())
        .numOfNode(1)
        .clusterName("embed-job-test-" + port)
        .pluginTypes("org.opensearch.knn.plugin.KNNPlugin"));
  }

  private static void endWithInput() {
    try {
      System.in.transferTo(OutputStream.nullOutputStream());
    } catch (IOException ignored) {
      // It is at its end then, too.
    }
    Runtime.getRuntime().halt(0);
  }
}
